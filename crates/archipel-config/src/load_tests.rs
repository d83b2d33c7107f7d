//! Tests of loading from folders on disk.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::*;

/// A folder of its own that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("archipel-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join("zones")).expect("a writable folder for temporary files");
        for (name, content) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
            fs::write(path, content).expect("a writable folder");
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SHOP: &[u8] =
    b"hosts = [\"*\"]\n[origin]\nurl = \"http://o\"\n[error_pages]\ndefault = \"../pages/error.html\"\n";

/// Every expected problem as "code file: part of the message", in order.
#[track_caller]
fn check(files: &[(&str, &[u8])], expected: &[&str]) {
    let folder = Folder::new(files);
    let found = match Snapshot::load_dir(&folder.0) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    assert_eq!(found.len(), expected.len(), "{found}");
    for (diagnostic, expected) in found.iter().zip(expected) {
        let file = diagnostic.file.replace(&*folder.0.to_string_lossy(), "DIR");
        let shown = format!("{} {file}: {}", diagnostic.code, diagnostic.message);
        assert!(shown.starts_with(expected), "{expected}\n{shown}");
    }
}

#[test]
fn folders() {
    let page: (&str, &[u8]) = ("pages/error.html", b"<p>sorry");
    check(&[("node.toml", b""), ("zones/shop.toml", SHOP), page], &[]);
    check(
        &[("zones/shop.toml", SHOP), page, ("readme.md", b"x"), ("zones/.hidden.toml", b"="), ("package.json", b"{")],
        &[],
    );
    check(&[("zones/shop.toml", SHOP)], &["C033 zones/shop.toml: `error_pages.default` names "]);
    check(&[], &["C007 DIR: the folder holds neither"]);
    check(
        &[("node.toml", b"name = \"a\"\n\xff"), ("zones/shop.toml", SHOP), page],
        &["C004 node.toml: the document is not UTF-8 text (line 2)"],
    );
    check(
        &[("node.toml", &vec![b'#'; DOCUMENT_BYTES_MAX + 1]), ("zones/shop.toml", SHOP), page],
        &["C003 node.toml: "],
    );
    check(
        &[("nodes.toml", b""), ("zones/shop.toml", SHOP), page],
        &["C005 nodes.toml: the document's name says neither"],
    );
    check(&[("zones/x.yaml", b""), ("zones/shop.toml", SHOP), page], &["C005 zones/x.yaml: the file is not read"]);
    check(
        &[("zones/a.toml", b"hosts = 1"), ("node.toml", b"\xff")],
        &[
            "C004 node.toml: ",
            "C016 zones/a.toml: `origin.url` is missing",
            "C011 zones/a.toml: `hosts` must be a list",
        ],
    );
}

#[test]
fn a_folder_that_is_not_there() {
    let folder = Folder::new(&[]);
    let problems = Snapshot::load_dir(&folder.0.join("gone")).expect_err("no folder");
    assert_eq!(problems.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::Unreadable]);
}

#[test]
fn files_that_are_no_files() {
    let folder = Folder::new(&[("zones/shop.toml", SHOP)]);
    fs::create_dir_all(folder.0.join("pages/error.html")).expect("a writable folder");
    let problems = Snapshot::load_dir(&folder.0).expect_err("a folder instead of a page");
    assert!(problems.to_string().contains("it is a folder"), "{problems}");
}

#[test]
fn paths_start_at_the_document() {
    let folder = Folder::new(&[
        ("node.toml", b"state_dir = \"var\""),
        ("zones/shop.toml", SHOP),
        ("pages/error.html", b"<p>sorry"),
    ]);
    let (snapshot, _) = Snapshot::load_dir(&folder.0).expect("a good folder");
    assert_eq!(snapshot.node.state_dir, folder.0.join("var"));
    let page = snapshot.zones[0].error_pages.get(ErrorPageKind::Internal).expect("the page");
    assert_eq!(&page[..], b"<p>sorry");
    let documents = [("zones/shop.toml", std::str::from_utf8(SHOP).expect("text"))];
    assert!(Snapshot::from_documents_in(&folder.0, &documents).is_ok());
    assert!(Snapshot::from_documents(&documents).is_err());
}
