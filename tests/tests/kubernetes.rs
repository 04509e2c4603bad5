//! The manifests and the chart, against the schemas of the Kubernetes API and the promises of least privilege.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::skip;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

struct Tools {
    helm: PathBuf,
    validator: PathBuf,
}

macro_rules! tools {
    () => {{
        let tool = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (Some(helm), Some(validator)) = (tool("SYSTEM_MONITOR_HELM"), tool("SYSTEM_MONITOR_KUBERNETES")) else {
            skip!("helm and the schemas are not installed; cargo xtask test does it")
        };
        Tools { helm, validator }
    }};
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

impl Tools {
    fn python(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.args(arguments).env("PYTHONPATH", &self.validator);
        command
    }

    /// Checks that every document of a file matches the schema of its kind, without unknown fields.
    fn validate(&self, file: &Path) {
        let path = file.to_str().unwrap();
        let program = self.validator.join("bin/kubernetes-validate");
        let output = self.python(&[program.to_str().unwrap(), "--strict", path]).output().unwrap();
        assert!(output.status.success(), "{path}: {}", said(&output));
        assert_eq!(said(&output).matches(" passed for resource ").count(), documents(&self.parse(file)).len());
    }

    fn parse(&self, file: &Path) -> Vec<Value> {
        const LOAD: &str = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
        let output = self.python(&["-c", LOAD, file.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn chart(&self, words: &[&str]) -> Output {
        let chart = repository().join("deploy/helm/system-monitor");
        let (verb, rest) = words.split_first().unwrap();
        let mut command = Command::new(&self.helm);
        command.arg(verb).args((*verb == "template").then_some("monitor")).arg(chart).args(rest);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The chart with these settings, validated.
    fn render(&self, settings: &[&str]) -> Vec<Value> {
        let words = settings.iter().flat_map(|setting| ["--set", setting]);
        let output = self.chart(&std::iter::once("template").chain(words).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", said(&output));
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        file.write_all(&output.stdout).unwrap();
        self.validate(file.path());
        documents(&self.parse(file.path()))
    }
}

fn documents(all: &[Value]) -> Vec<Value> {
    all.iter().filter(|document| document.is_object()).cloned().collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

/// Checks of every DaemonSet of ours.
fn assert_least_privilege(daemon_set: &Value, capabilities: &[&str]) {
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert!(security["privileged"].is_null());
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(security["capabilities"]["add"], serde_json::json!(capabilities));
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert_eq!(pod["tolerations"], serde_json::json!([{"operator": "Exists"}]));
    // Of the node's files only its cgroups, read-only, and the BPF file system of the pins.
    let paths: Vec<&str> =
        pod["volumes"].as_array().unwrap().iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
    assert_eq!(paths, ["/sys/fs/cgroup", "/sys/fs/bpf"]);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let writable: Vec<&Value> =
        mounts.iter().filter(|mount| mount["readOnly"] != true).map(|mount| &mount["mountPath"]).collect();
    assert_eq!(writable, ["/sys/fs/bpf"]);
}

const WITH_NAMES: [&str; 5] = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"];

#[test]
fn the_manifests_are_valid_and_ask_for_little() {
    let tools = tools!();
    let directory = repository().join("deploy/kubernetes");
    let files = |dir: &Path| -> Vec<PathBuf> {
        let paths = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
    };
    let files = [files(&directory), files(&directory.join("examples"))].concat();
    assert_eq!(files.len(), 5);
    for file in files {
        tools.validate(&file);
        let all = documents(&tools.parse(&file));
        // No role is used, so none exists.
        assert!(!all.iter().any(|document| document["kind"].as_str().unwrap().contains("Role")));
    }
    let all = documents(&tools.parse(&directory.join("daemonset.yaml")));
    assert_least_privilege(of_kind(&all, "DaemonSet"), &WITH_NAMES);
}

#[test]
fn the_chart_lints_renders_and_asks_for_little() {
    let tools = tools!();
    let output = tools.chart(&["lint", "--strict"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_least_privilege(of_kind(&tools.render(&[]), "DaemonSet"), &WITH_NAMES);
    let all = tools.render(&[
        "names=false",
        "valkey.username=monitor",
        "valkey.passwordSecret=secret",
        "listen.enabled=true",
        "listen.tokenSecret=token",
        "settings.interval=10s",
    ]);
    let daemon_set = of_kind(&all, "DaemonSet");
    assert_least_privilege(daemon_set, &WITH_NAMES[..3]);
    let probe = &daemon_set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"];
    assert_eq!(probe["httpGet"]["path"], "/healthz");
    // The agent accepts these settings.
    let text = of_kind(&all, "ConfigMap")["data"]["config.toml"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let taken = agent_takes(&file);
    assert!(taken.is_ok(), "{text}: {taken:?}");
}

/// The names of a list of volumes or mounts.
fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

#[test]
fn the_charts_settings_mean_in_the_agents_file_what_they_mean_in_yaml() {
    let tools = tools!();
    let dir = tempfile::tempdir().unwrap();
    let (values, file) = (dir.path().join("values.yaml"), dir.path().join("config.toml"));
    let rendered = |text: &str| {
        fs::write(&values, text).unwrap();
        tools.chart(&["template", "--values", values.to_str().unwrap()])
    };
    let settings = |text: &str| {
        let output = rendered(text);
        assert!(output.status.success(), "{text}: {}", said(&output));
        fs::write(&file, &output.stdout).unwrap();
        let all = documents(&tools.parse(&file));
        of_kind(&all, "ConfigMap")["data"]["config.toml"].as_str().unwrap().to_owned()
    };
    for (yaml, toml) in [
        ("{history: off}", "history = false"),
        ("{sandbox: off, drop-privileges: no}", "drop-privileges = false\nsandbox = false"),
        ("{log-keys: 1000}", "log-keys = 1000"),
        ("{containers: ['web*', '!web-test']}", r#"containers = ["web*","!web-test"]"#),
        (r#"{containers: 'a\b"c,日本*'}"#, r#"containers = "a\\b\"c,日本*""#),
        ("{cgroups: ''}", r#"cgroups = """#),
        ("{cgroups: null}", r#"valkey-url = "valkey://valkey:6379""#),
    ] {
        let text = settings(&format!("settings: {yaml}"));
        assert!(text.contains(toml) && !text.contains("null"), "{yaml}: {text}");
        fs::write(&file, &text).unwrap();
        let taken = agent_takes(&file);
        assert!(taken.is_ok(), "{yaml}: {taken:?}");
    }
    let text = settings("listen: {enabled: true, tokenSecret: t}\nsettings: {listen: '[::]:9630'}");
    assert_eq!(text.matches("listen = ").count(), 1, "a setting wins over the chart's: {text}");
    for refused in ["settings: {histroy: 1h}", "settings: {containers: {web: true}}", "listen: {port: 0}"] {
        assert!(!rendered(refused).status.success(), "{refused}");
    }
}

#[test]
fn the_chart_mounts_what_settings_name() {
    let tools = tools!();
    let all = tools.render(&[
        "settings.valkey-tls-ca=/etc/system-monitor/tls/ca.crt",
        "extraVolumes[0].name=tls",
        "extraVolumes[0].secret.secretName=ca",
        "extraVolumeMounts[0].name=tls",
        "extraVolumeMounts[0].mountPath=/etc/system-monitor/tls",
    ]);
    let pod = &of_kind(&all, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(names(&pod["volumes"]), ["settings", "cgroup", "bpf", "tls"]);
    assert_eq!(names(&pod["containers"][0]["volumeMounts"]), ["settings", "cgroup", "bpf", "tls"]);
}

/// Checks that the agent accepts a settings file; the files that it names need not exist.
fn agent_takes(file: &Path) -> Result<(), String> {
    let output =
        tests::agent::command(&["once", "--wait", "1ms", "--ebpf", "off", "--disk-interval", "0s", "--config"], &[])
            .arg(file)
            .output()
            .unwrap();
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}

#[test]
fn what_the_chart_needs_it_asks_for() {
    let tools = tools!();
    let output = tools.chart(&["template", "--set", "listen.enabled=true"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("listen.tokenSecret"), "{}", said(&output));
}
