//! Kinds of paths. A relative one starts at the folder of the document that names it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Files, Kind, malformed, quote, text};
use crate::diagnostic::{Code, Problem};
use crate::tree::Node;

/// A path of a folder or of a file that is made when needed.
pub(crate) struct AnyPath;

/// A path of a file that must be readable.
pub(crate) struct FilePath;

fn read_path(node: &Node) -> Result<PathBuf, Vec<Problem>> {
    let text = text(node, "a text")?;
    if text.is_empty() || text.contains('\0') {
        return Err(malformed("is no path", "write a path; a relative one starts at the document's folder"));
    }
    Ok(PathBuf::from(text))
}

macro_rules! path_kind {
    ($kind:ty, $name:literal, { $($inspect:item)* }) => {
        impl Kind<PathBuf> for $kind {
            fn read(&self, node: &Node) -> Result<PathBuf, Vec<Problem>> {
                read_path(node)
            }

            fn write(&self, value: &PathBuf) -> Option<String> {
                Some(quote(&value.to_string_lossy()))
            }

            fn name(&self) -> &'static str {
                $name
            }

            fn allowed(&self) -> String {
                "relative to the document's folder".to_owned()
            }

            fn schema(&self) -> serde_json::Value {
                json!({"type": "string", "minLength": 1})
            }

            fn settle(&self, value: PathBuf, folder: &Path) -> PathBuf {
                folder.join(value)
            }

            $($inspect)*
        }
    };
}

path_kind!(AnyPath, "path", {});
path_kind!(FilePath, "file", {
    fn inspect(&self, value: &PathBuf, files: &dyn Files) -> Result<(), Problem> {
        files.readable(value).map_err(|why| {
            Problem::error(
                Code::FileMissing,
                format!("names {}, which cannot be read: {why}", quote(&value.to_string_lossy())),
            )
            .help("the path is relative to the folder of the document that names it")
        })
    }
});
