use proptest::prelude::*;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn told(path: &str) -> Option<(&'static str, Option<String>)> {
    container(&path.replace("ID", ID)).map(|hint| (hint.runtime, hint.id.map(|_| "ID".to_owned()).or(hint.name)))
}

/// Paths as runtimes create them, by driver and parent.
#[test]
fn each_runtimes_containers_are_recognized_by_their_ids() {
    for (path, runtime) in [
        // Docker: cgroupfs, systemd, rootless, in another container, with --cgroup-parent, and by other engines' names.
        ("/docker/ID", "docker"),
        ("/system.slice/docker-ID.scope", "docker"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", "docker"),
        ("/docker/abc/docker/ID", "docker"),
        ("/lxc.payload.box/system.slice/docker-ID.scope", "docker"),
        ("/system.slice:docker:ID", "docker"),
        ("/my.slice/my-team.slice/docker-ID.scope", "docker"),
        ("/actions_job/ID", OCI),
        ("/team-a/ID", OCI),
        ("/system.slice/balena-ID.scope", OCI),
        ("/ecs/4d4b4cb5b4674d2ba3f0d0c8a2b9f1ea/ID", OCI),
        ("/ecs/2a8f-task/4d4b4cb5b4674d2ba3f0d0c8a2b9f1ea/ID", OCI),
        ("/ecstasks.slice/ecstasks-4d4b4cb5.slice/docker-ID.scope", "docker"),
        // Podman: cgroupfs, systemd, rootless, quadlets with a split group, pods.
        ("/libpod_parent/libpod-ID", "podman"),
        ("/machine.slice/libpod-ID.scope", "podman"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", "podman"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-ID", "podman"),
        ("/system.slice/web.service/libpod-payload-ID", "podman"),
        ("/machine.slice/machine-libpod_pod_aa.slice/libpod-ID.scope", "podman"),
        ("/libpod_parent/aabb/libpod-ID", "podman"),
        // containerd: nerdctl and other namespaces, Kubernetes with both drivers, cgroupfs with a path of systemd's
        // form.
        ("/default/ID", "containerd"),
        ("/moby/ID", "containerd"),
        ("/staging/ID", OCI),
        ("/system.slice/nerdctl-ID.scope", "containerd"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-ID.scope", "containerd"),
        ("/kubepods/pod8b6c/ID", "containerd"),
        ("/kubepods/besteffort/pod8b6c/ID", "containerd"),
        ("/kubepods/burstable/pod8b6c/ID", "containerd"),
        ("/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope", "containerd"),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice/cri-containerd-ID.scope",
            "containerd",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod12.slice/cri-containerd-ID.scope",
            "containerd",
        ),
        ("/kubepods-burstable-pod12.slice:cri-containerd:ID", "containerd"),
        ("/system.slice/containerd.service/kubepods-burstable-pod12.slice:cri-containerd:ID", "containerd"),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod12.slice/cri-containerd-ID.scope", "containerd"),
        ("/docker/abc/kubelet/kubepods/burstable/pod12/ID", "containerd"),
        ("/kubepods.slice/kubepods-pod12.slice/docker-ID.scope", "docker"),
        // CRI-O: both drivers.
        ("/kubepods.slice/kubepods-pod12.slice/crio-ID.scope", "cri-o"),
        ("/kubepods/burstable/pod12/crio-ID", "cri-o"),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice:crio:ID", "cri-o"),
    ] {
        assert_eq!(told(path), Some((runtime, Some("ID".to_owned()))), "{path}");
    }
}

#[test]
fn containers_without_an_id_are_recognized_by_their_names() {
    for (path, runtime, name) in [
        ("/lxc.payload.web", "lxc", "web"),
        ("/lxc.payload.project_web", "lxc", "project_web"),
        ("/lxc.payload/web", "lxc", "web"),
        ("/lxc/web", "lxc", "web"),
        ("/lxc/101", "lxc", "101"),
        ("/user.slice/user-1000.slice/session-2.scope/lxc.payload.web", "lxc", "web"),
        ("/machine.slice/systemd-nspawn@my\\x2dbox.service", "systemd-nspawn", "my-box"),
        ("/machine.slice/systemd-nspawn@gr\\xc3\\xbcn.service", "systemd-nspawn", "grün"),
        ("/machine.slice/machine-box.scope", "systemd-nspawn", "box"),
        ("/machine.slice/machine-my\\x2dbox.scope", "systemd-nspawn", "my-box"),
        ("/machine.slice/machine-lxc\\x2d4242\\x2dweb.scope", "libvirt-lxc", "web"),
    ] {
        assert_eq!(told(path), Some((runtime, Some(name.to_owned()))), "{path}");
    }
}

#[test]
fn a_unit_is_unescaped_whole_or_not_at_all() {
    for (name, plain) in [
        ("a\\x2db.service", "a-b.service"),
        ("caf\\xc3\\xa9", "café"),
        ("a\\x20b", "a b"),
        ("bad\\xff", "bad\\xff"),
        ("a\\x0ab\\x2dc", "a\\x0ab\\x2dc"),
        ("a\\x2", "a\\x2"),
        ("a\\xzz", "a\\xzz"),
    ] {
        assert_eq!(unescape(name), plain);
    }
}

#[test]
fn what_stands_beside_around_or_inside_a_container_is_none() {
    for path in [
        "/",
        "",
        "/docker",
        "/docker/buildkit",
        "/docker/buildkit/p1k2j3h4g5f6d7s8a9q0w1e2r",
        "/system.slice/docker.service",
        "/system.slice/docker-ID.mount",
        "/system.slice/var-lib-docker-containers-ID-mounts-shm.mount",
        // Podman's health checks.
        "/system.slice/ID.service",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice",
        "/kubepods/besteffort/pod12",
        "/machine.slice/libpod-conmon-ID.scope",
        "/libpod_parent/libpod-conmon-ID",
        "/libpod_parent/ID",
        "/machine.slice/machine-libpod_pod_ID.slice",
        "/system.slice/crio-conmon-ID.scope",
        "/kubepods/burstable/pod12/crio-conmon-ID",
        "/machine.slice/libpod-ID.scope/container",
        "/machine.slice/libpod-ID.scope/libpod-payload-ID",
        "/kata_overhead/ID",
        "/docker/ID/init",
        "/docker/ID0",
        "/docker/xID",
        "/lxc.monitor.web",
        "/lxc.monitor/web",
        "/lxc/lxc.monitor",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        "/machine.slice/machine-qemu\\x2d12\\x2dubuntu\\x2d24.scope/libvirt",
        "/user.slice/user-1000.slice/session-2.scope",
    ] {
        assert_eq!(told(path), None, "{path}");
    }
}

#[test]
fn the_innermost_container_of_a_deeper_path_is_found() {
    let of = |path: &str| innermost(&path.replace("ID", ID)).map(|hint| hint.runtime);
    assert_eq!(of("/machine.slice/libpod-ID.scope/container"), Some("podman"));
    assert_eq!(of("/lxc.payload.box/docker/ID/init"), Some("docker"));
    assert_eq!(of("/system.slice/ssh.service"), None);
    assert_eq!(of("/"), None);
}

#[test]
fn in_a_cgroup_namespace_the_runtimes_mounts_name_the_container() {
    let table = format!("7 6 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw\n");
    assert_eq!(by_mounts(&table).unwrap().runtime, "docker");
    let table =
        format!("7 6 0:9 /containers/storage/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs t rw\n");
    assert_eq!(by_mounts(&table).unwrap().runtime, "podman");
    assert_eq!(by_mounts("1 2 0:3 / / rw - ext4 /dev/vda rw\n"), None);
}

proptest! {
    #[test]
    fn any_path_is_told(path in ".*") {
        let _total = (container(&path), innermost(&path));
    }
}
