//! Invariants of ARCHITECTURE.md that neither a type nor a lint enforces, and the existence of everything that it
//! names.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// The Rust files below a directory.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The files below a directory of the repository whose code contains one of the words.
fn files_with(dir: &str, words: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    sources(&repository().join(dir), &mut files);
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    let mut found: Vec<String> = files
        .iter()
        .filter(|path| words.iter().any(|word| code(path).contains(word)))
        .map(|path| path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

#[test]
fn no_program_is_attached_to_a_system_call() {
    let words = ["sys_enter", "sys_exit", "syscalls", "__x64_sys", "__arm64_sys"];
    for dir in ["monitor-ebpf/src", "monitor/src/sources/bpf"] {
        assert_eq!(files_with(dir, &words), [""; 0]);
    }
}

#[test]
fn unsafe_code_of_the_agent_is_in_one_module() {
    let files = files_with("monitor/src", &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]);
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| file.starts_with("monitor/src/sources/bpf/sys")), "{files:?}");
    assert!(read("monitor/src/lib.rs").contains("#![deny(unsafe_code)]"));
}

/// The messages of the former agent, which keep a value in their text.
const FORMER: [&str; 6] = [
    "Error reading {first}: {cause}",
    "Error reading {name}: {error}",
    "Error storing log: {fault}",
    // Metrics that are not stored, and the same for other sinks.
    "Error {}",
    "Starting system monitor for container: {}",
    "System monitor stopping for container: {name}",
];

/// The string literals among the arguments of each macro that logs, but not those of macros within it.
fn log_messages(code: &str) -> Vec<String> {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| format!("tracing::{level}!("));
    let starts = levels.iter().flat_map(|call| code.match_indices(call.as_str()).map(|(at, _)| at + call.len()));
    let mut messages = Vec::new();
    for start in starts {
        let (mut depth, mut rest) = (1, &code[start..]);
        while depth > 0 {
            let at = rest.find(['(', ')', '"']).unwrap();
            let (found, behind) = rest[at..].split_at(1);
            rest = behind;
            match found {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {
                    let (literal, behind) = rest.split_once('"').unwrap();
                    rest = behind;
                    messages.extend((depth == 1).then(|| literal.to_owned()));
                }
            }
        }
    }
    messages
}

#[test]
fn log_messages_begin_with_fixed_words_and_have_their_values_in_fields() {
    let mut files = Vec::new();
    sources(&repository().join("monitor/src"), &mut files);
    let messages: Vec<String> =
        files.iter().flat_map(|file| log_messages(&fs::read_to_string(file).unwrap())).collect();
    assert!(messages.len() > 50, "{}", messages.len());
    let mut with_values: Vec<&str> = messages.iter().map(String::as_str).filter(|text| text.contains('{')).collect();
    with_values.sort_unstable();
    assert_eq!(with_values, FORMER);
}

/// Paths in backticks, and elsewhere paths into the agent; patterns are left out.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2).filter(|word| word.contains('/'));
    let plain = text.split_whitespace().filter(|word| word.starts_with("monitor/"));
    quoted.chain(plain).filter(|word| !word.contains([' ', '<', '*', '$', '{', '…', ':', '`']))
}

#[test]
fn what_the_documents_about_the_code_name_exists() {
    // The directories that a path in these documents may be relative to.
    let roots = ["", "monitor/src", "monitor/src/sources", "tests", "docs"].map(|root| repository().join(root));
    let mut seen = 0;
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for path in paths(&read(document)).filter(|path| !path.starts_with('/')) {
            seen += 1;
            assert!(roots.iter().any(|root| root.join(path).exists()), "{document}: {path} does not exist");
        }
    }
    assert!(seen > 30, "{seen}");
}

/// The names of tests in backticks. A test is named as a sentence, of many words.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &&str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 4).filter(is_name)
}

#[test]
fn each_test_that_an_invariant_names_is_in_the_file_named_behind_it() {
    let mut seen = 0;
    for line in read("ARCHITECTURE.md").lines() {
        for name in named_tests(line) {
            seen += 1;
            let file = line.split_once(&format!("`{name}` in `")).and_then(|(_, rest)| rest.split('`').next());
            let file = file.unwrap_or_else(|| panic!("{name} is named without its file"));
            assert!(read(file).contains(&format!("fn {name}(")), "{file} has no test {name}");
        }
    }
    assert!(seen > 4, "{seen}");
}

#[test]
fn the_tests_that_the_documents_name_exist() {
    let mut files = Vec::new();
    for dir in ["monitor/src", "monitor-common/src", "tests/tests"] {
        sources(&repository().join(dir), &mut files);
    }
    let sources: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut documents = vec!["ARCHITECTURE.md".into(), "docs/security.md".into(), "docs/privileges.md".into()];
    let decisions = fs::read_dir(repository().join("docs/decisions")).unwrap().flatten();
    documents.extend(decisions.map(|entry| format!("docs/decisions/{}", entry.file_name().to_str().unwrap())));
    for document in documents {
        let text = read(&document);
        for name in named_tests(&text) {
            assert!(sources.contains(&format!("fn {name}(")), "{document}: there is no test {name}");
        }
    }
}
