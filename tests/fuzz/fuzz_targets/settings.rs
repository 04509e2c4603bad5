//! Settings: the file, URLs, variables.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use monitor::config::Config;
use monitor::settings::{SettingName, Settings};
use monitor::snapshot::Scope;
use monitor::valkey::Target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _total = Target::parse(&text);
    let flags = clap::Command::new("fuzz").args(Settings::flags()).no_binary_name(true);
    let flags = flags.try_get_matches_from(["--config", "file"]).expect("these flags are known");
    // The first byte chooses the variable that gets the rest.
    let (which, value) = bytes.split_first().map_or((0, bytes), |(first, rest)| (usize::from(*first), rest));
    let variable = SettingName::ALL[which % SettingName::ALL.len()].setting().variable;
    let environment =
        |name: &str| (name == variable && !value.contains(&0)).then(|| OsString::from_vec(value.to_vec()));
    if let Ok(settings) = Settings::collect(&flags, environment, |_| Ok(text.clone())) {
        let _total = Config::new(&settings, |_| Scope::Host).map_err(|error| error.to_string());
    }
});
