//! Where the program keeps things, and reading what it is told to read.
//!
//! Owns the choice of the state folder and its permissions. Must never loosen permissions of what exists.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use archipel_config::Snapshot;

/// Longest path of a Unix socket on Linux in bytes, its closing zero not counted.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Name of the control socket in the state folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The state folder of a command that talks to a running node: given, of the configuration, of the environment, the usual.
pub fn state_dir(given: Option<&Path>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    if let Some(folder) = config {
        return match Snapshot::load_dir(folder) {
            Ok((snapshot, _)) => Ok(snapshot.node.state_dir),
            Err(problems) => bail!(
                "{} does not tell the state folder, it has errors:\n\n{problems}give the folder with --state-dir instead",
                folder.display()
            ),
        };
    }
    if let Some(folder) = std::env::var_os("ARCHIPEL_STATE_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    usual_state_dir(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

/// `$XDG_STATE_HOME/archipel`, which is `~/.local/state/archipel` where that is not set (XDG base directories).
fn usual_state_dir(xdg: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> anyhow::Result<PathBuf> {
    // The specification wants relative paths ignored.
    let absolute = |path: std::ffi::OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    if let Some(folder) = xdg.and_then(absolute) {
        return Ok(folder.join("archipel"));
    }
    match home.and_then(absolute) {
        Some(home) => Ok(home.join(".local/state/archipel")),
        None => {
            bail!("no folder for the node's state: neither XDG_STATE_HOME nor HOME is set; give one with --state-dir")
        }
    }
}

/// Makes the state folder, mode 0700, or checks that nobody else may write in the one that is there.
pub fn prepare_state_dir(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
        format!("the state folder {} cannot be made; choose another with --state-dir", folder.display())
    })?;
    let folder = folder.canonicalize().with_context(|| format!("the state folder {}", folder.display()))?;
    let mode = fs::metadata(&folder)?.permissions().mode();
    if mode & 0o022 != 0 {
        bail!(
            "others may write in the state folder {0} (mode {1:04o}), which holds private keys; run: chmod go-w {0}",
            folder.display(),
            mode & 0o7777
        );
    }
    let socket = folder.join(CONTROL_SOCKET);
    // Room for the name that the socket has before it is moved to its place.
    if socket.as_os_str().len() + 16 > SOCKET_PATH_BYTES_MAX {
        bail!(
            "the state folder's path is too long for a Unix socket: {}; choose a shorter one with --state-dir",
            folder.display()
        );
    }
    Ok(folder)
}

/// Writes a file so that a reader sees all of it or none.
pub fn write_atomically(path: &Path, content: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = fs::write(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[track_caller]
    fn check(xdg: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        let found = usual_state_dir(xdg.map(OsString::from), home.map(OsString::from));
        assert_eq!(found.ok().as_deref(), expected.map(Path::new));
    }

    #[test]
    fn the_usual_state_folder() {
        check(Some("/s"), Some("/h"), Some("/s/archipel"));
        check(None, Some("/h"), Some("/h/.local/state/archipel"));
        check(Some("relative"), Some("/h"), Some("/h/.local/state/archipel"));
        check(Some(""), None, None);
        check(None, None, None);
    }

    #[test]
    fn state_folders_are_private() {
        let base = std::env::temp_dir().join(format!("archipel-files-{}", std::process::id()));
        let folder = prepare_state_dir(&base.join("a/b")).expect("made");
        assert_eq!(fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("ours");
        let error = prepare_state_dir(&folder).expect_err("others may write").to_string();
        assert!(error.contains("chmod go-w"), "{error}");
        let error = prepare_state_dir(&base.join("x".repeat(100))).expect_err("too long").to_string();
        assert!(error.contains("too long"), "{error}");
        fs::remove_dir_all(&base).expect("ours");
    }
}
