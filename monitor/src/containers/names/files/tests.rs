use std::fs;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn known(runtime: &'static str, files: &[(&str, &str)]) -> Option<ContainerInfo> {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path.replace("ID", ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.replace("ID", ID)).unwrap();
    }
    let me = rustix::process::geteuid().as_raw();
    look_up(&dir, runtime, Some(me))
}

fn look_up(dir: &tempfile::TempDir, runtime: &'static str, user: Option<u32>) -> Option<ContainerInfo> {
    Files::new(dir.path()).look_up(&PathHint { runtime, id: Some(ID.to_owned()), name: None }, user, false)
}

fn name(runtime: &'static str, files: &[(&str, &str)]) -> Option<String> {
    known(runtime, files)?.name
}

const DOCKER: &str = "var/lib/docker/containers/ID/config.v2.json";
const CRIO: &str = "run/containers/storage/overlay-containers/ID/userdata/config.json";

#[test]
fn dockers_name_image_and_labels_are_found_and_the_containers_own_name_comes_first() {
    let text = r#"{"Name":"/web","Config":{"Image":"nginx:1","Labels":{"tier":"front"},"Env":["PATH=/"]},"State":{}}"#;
    let web = known("docker", &[(DOCKER, text)]).unwrap();
    assert_eq!((web.name.as_deref(), web.image.as_deref(), web.is_final), (Some("web"), Some("nginx:1"), true));
    assert_eq!(web.labels["tier"], "front");
    assert!(web.source.unwrap().0.below.ends_with("config.v2.json"));
    let text = text.replace("PATH=/", "CONTAINER_NAME=sirius-api");
    assert_eq!(name("docker", &[(DOCKER, &text)]).as_deref(), Some("sirius-api"));
}

#[test]
fn podmans_names_are_found_for_root_and_for_users() {
    let list =
        r#"[{"id":"other","names":["x"]},{"id":"ID","names":["db"],"metadata":"{\"image-name\":\"postgres:16\"}"}]"#;
    for store in ["var/lib/containers", "home/me/.local/share/containers", "root/.local/share/containers"] {
        let known = known("podman", &[(&format!("{store}/storage/overlay-containers/containers.json"), list)]).unwrap();
        assert_eq!((known.name.as_deref(), known.image.as_deref()), (Some("db"), Some("postgres:16")), "{store}");
    }
}

#[test]
fn pods_are_named_by_namespace_pod_and_container() {
    let containerd = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let text = r#"{"process":{"env":["A=b"]},"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"pod-1","io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-uid":"u-1","io.kubernetes.cri.image-name":"app:2"}}"#;
    let app = known("containerd", &[(containerd, text)]).unwrap();
    assert_eq!((app.name.as_deref(), app.image.as_deref()), (Some("prod/pod-1/app"), Some("app:2")));
    for (label, value) in
        [("container.name", "app"), ("pod.name", "pod-1"), ("pod.namespace", "prod"), ("pod.uid", "u-1")]
    {
        assert_eq!(app.labels[&format!("io.kubernetes.{label}")], value);
    }
    let sandbox = text.replace(r#""io.kubernetes.cri.container-name":"app","#, "");
    assert_eq!(name("containerd", &[(containerd, &sandbox)]).as_deref(), Some("prod/pod-1"));
    let crio = r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"pod-1","io.kubernetes.pod.namespace":"prod","io.kubernetes.cri-o.ImageName":"app:2","io.kubernetes.cri-o.Volumes":"[]"}}"#;
    let app = known("cri-o", &[(CRIO, crio)]).unwrap();
    assert_eq!((app.name.as_deref(), app.image.as_deref()), (Some("prod/pod-1/app"), Some("app:2")));
    assert_eq!(app.labels.len(), 3);
    let log = known("containerd", &[("var/log/containers/pod-1_prod_app-ID.log", "")]).unwrap();
    assert_eq!((log.name.as_deref(), log.is_final), (Some("prod/pod-1/app"), false));
    assert_eq!(log.labels["io.kubernetes.pod.namespace"], "prod");
}

#[test]
fn labels_that_anybody_can_set_are_no_names() {
    let labels = r#"{"io.kubernetes.pod.name":"pod-1","io.kubernetes.pod.namespace":"prod"}"#;
    let docker = format!(r#"{{"Name":"/mallory","Config":{{"Labels":{labels}}}}}"#);
    let mallory = known("docker", &[(DOCKER, &docker)]).unwrap();
    assert_eq!((mallory.name.as_deref(), mallory.labels.len()), (Some("mallory"), 0));
    let bundle = format!(r#"{{"annotations":{labels}}}"#);
    let nerdctl = "run/containerd/io.containerd.runtime.v2.task/default/ID/config.json";
    assert_eq!(name("containerd", &[(nerdctl, &bundle)]), None);
    assert_eq!(name("podman", &[(CRIO, &bundle)]), None);
    assert_eq!(name("cri-o", &[(CRIO, &bundle)]).as_deref(), Some("prod/pod-1"));
    let taken = r#"{"Name":"/web","Config":{"Env":["CONTAINER_NAME=prod/pod-1/app"]}}"#;
    assert_eq!(name("docker", &[(DOCKER, taken)]).as_deref(), Some("web"));
}

#[test]
fn nerdctls_names_are_found() {
    let bundle = ("run/containerd/io.containerd.runtime.v2.task/default/ID/config.json", "{}");
    let names = [
        bundle,
        ("var/lib/nerdctl/1935db59/names/default/web", "ID"),
        ("var/lib/nerdctl/1935db59/names/default/x", "y"),
    ];
    assert_eq!(name("containerd", &names).as_deref(), Some("web"));
}

#[test]
fn the_files_of_a_user_describe_the_containers_in_his_slice_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("home/me/.local/share/containers/storage/overlay-containers");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("containers.json"), format!(r#"[{{"id":"{ID}","names":["db"]}}]"#)).unwrap();
    let me = rustix::process::geteuid().as_raw();
    let name = |user| look_up(&dir, "podman", user).and_then(|known| known.name);
    assert_eq!(
        [name(Some(me)).as_deref(), name(None).as_deref(), name(Some(me + 1)).as_deref()],
        [Some("db"), None, None]
    );
    // A list that is a link out of the home says nothing.
    fs::rename(store.join("containers.json"), dir.path().join("list")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("list"), store.join("containers.json")).unwrap();
    assert_eq!(name(Some(me)), None);
}

#[test]
fn what_is_damaged_or_not_there_is_no_name() {
    for runtime in ["docker", "containerd", "cri-o", "podman", "lxc"] {
        assert_eq!(known(runtime, &[]), None, "{runtime}");
        assert_eq!(name(runtime, &[(DOCKER, "{nonsense"), (CRIO, "[]")]), None, "{runtime}");
    }
}
