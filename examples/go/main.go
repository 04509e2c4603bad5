// Reads what system-monitor wrote to Valkey: reader HOST:PORT latest | history NAME | log NAME
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

var shown = []string{"cpu_percent", "memory_usage_bytes", "network_rx_bytes", "disk_usage_bytes", "process_count"}

const page = 500

// Valkey is a connection that speaks RESP2.
type Valkey struct {
	connection net.Conn
	reader     *bufio.Reader
}

func connect(address string) (*Valkey, error) {
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Valkey{connection, bufio.NewReader(connection)}, nil
}

// Ask sends a command. The answer is a string, a list, or nil.
func (valkey *Valkey) Ask(words ...string) (any, error) {
	request := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(valkey.connection, request); err != nil {
		return nil, err
	}
	return valkey.reply()
}

func (valkey *Valkey) reply() (any, error) {
	line, err := valkey.reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	kind, rest := line[0], line[1:]
	switch kind {
	case '$':
		length, err := strconv.Atoi(rest)
		if err != nil || length < 0 {
			return nil, err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(valkey.reader, text); err != nil {
			return nil, err
		}
		return string(text[:length]), nil
	case '*':
		length, err := strconv.Atoi(rest)
		if err != nil {
			return nil, err
		}
		items := []any{}
		for i := 0; i < length; i++ {
			item, err := valkey.reply()
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	case '-':
		return nil, fmt.Errorf("%s", rest)
	}
	return rest, nil
}

// stream calls handle with each entry of a stream, oldest first, page by page.
func (valkey *Valkey) stream(key, field string, handle func(id, document string) error) error {
	start := "-"
	for {
		reply, err := valkey.Ask("XRANGE", key, start, "+", "COUNT", strconv.Itoa(page))
		if err != nil {
			return err
		}
		entries := reply.([]any)
		for _, entry := range entries {
			id, fields := entry.([]any)[0].(string), entry.([]any)[1].([]any)
			for i := 0; i+1 < len(fields); i += 2 {
				if fields[i] == field {
					if err := handle(id, fields[i+1].(string)); err != nil {
						return err
					}
				}
			}
			start = "(" + id
		}
		if len(entries) == 0 {
			return nil
		}
	}
}

// report holds the fields of a report by name.
type report map[string]any

func parse(text string) (report, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	// Integers stay integers, whatever their size.
	decoder.UseNumber()
	var fields report
	err := decoder.Decode(&fields)
	return fields, err
}

// cause says why a number is null: `absent` has an index into `causes` (schema 3), or the text itself (schema 2).
func (fields report) cause(name string) string {
	absent, _ := fields["absent"].(map[string]any)
	causes, _ := fields["causes"].([]any)
	told := absent[name]
	if index, ok := told.(json.Number); ok {
		told = nil
		if at, err := strconv.Atoi(index.String()); err == nil && 0 <= at && at < len(causes) {
			told = causes[at]
		}
	}
	if text, ok := told.(string); ok {
		return text
	}
	return "no cause given"
}

// number is a number as text; one that was not measured is null, with its cause.
func (fields report) number(name string) string {
	value, measured := fields[name].(json.Number)
	if !measured {
		return fmt.Sprintf("%s=null (%s)", name, fields.cause(name))
	}
	if real, err := value.Float64(); err == nil && strings.ContainsAny(value.String(), ".eE") {
		return fmt.Sprintf("%s=%.1f", name, real)
	}
	return fmt.Sprintf("%s=%s", name, value)
}

func (fields report) numbers(names []string) string {
	texts := []string{}
	for _, name := range names {
		texts = append(texts, fields.number(name))
	}
	return strings.Join(texts, " ")
}

func latest(valkey *Valkey) error {
	names, err := valkey.Ask("ZRANGE", "system:containers", "0", "-1")
	if err != nil {
		return err
	}
	for _, name := range names.([]any) {
		text, err := valkey.Ask("GET", "system:metrics:"+name.(string))
		if err != nil {
			return err
		}
		if text == nil {
			fmt.Printf("%s: no agent reports it\n", name)
			continue
		}
		fields, err := parse(text.(string))
		if err != nil {
			return err
		}
		fmt.Println(name, fields["status"], fields.numbers(shown))
	}
	return nil
}

func history(valkey *Valkey, name string) error {
	return valkey.stream("system:history:"+name, "report", func(id, document string) error {
		fields, err := parse(document)
		if err == nil {
			fmt.Println(id, fields.numbers(shown[:2]))
		}
		return err
	})
}

func logEntries(valkey *Valkey, name string) error {
	return valkey.stream("system:logstream:"+name, "entry", func(_, document string) error {
		var entry struct{ Timestamp, Level, Message string }
		err := json.Unmarshal([]byte(document), &entry)
		if err == nil {
			fmt.Println(entry.Timestamp, entry.Level, entry.Message)
		}
		return err
	})
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return fmt.Errorf("usage: reader HOST:PORT latest | history NAME | log NAME")
	}
	valkey, err := connect(arguments[0])
	if err != nil {
		return err
	}
	defer valkey.connection.Close()
	switch command := arguments[1]; {
	case command == "latest":
		return latest(valkey)
	case command == "history" && len(arguments) == 3:
		return history(valkey, arguments[2])
	case command == "log" && len(arguments) == 3:
		return logEntries(valkey, arguments[2])
	}
	return fmt.Errorf("usage: reader HOST:PORT latest | history NAME | log NAME")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
