// For start scripts that know only `go run main.go`: becomes the agent for this processor.
package main

import (
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

func main() {
	agent := "/opt/system-monitor/" + runtime.GOARCH + "/system-monitor"
	if file, err := elf.Open(agent); err == nil {
		machine := file.Machine
		file.Close()
		wanted := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
		if machine != wanted {
			fail("exec format error: %s is made for %v, and this is %s; on the host: deploy/sirius/install", agent, machine, runtime.GOARCH)
		}
	}
	err := syscall.Exec(agent, append([]string{agent}, os.Args[1:]...), os.Environ())
	fail("%s: %v; on the host: deploy/sirius/install", agent, err)
}

func fail(format string, words ...any) {
	fmt.Fprintf(os.Stderr, "system-monitor: no metrics of this container: "+format+"\n", words...)
	os.Exit(1)
}
