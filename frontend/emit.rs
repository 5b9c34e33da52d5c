//! Writing ONNX models as files: the graph, and beside it the files that its weights are in.

use std::{
    fmt::Display,
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use irc_backends::onnx::whole::{WeightContent, WholeModel};
use irc_ir::{
    code::Code,
    diagnostic::{Diagnostic, Span},
};

/// The file of the graph.
pub const MODEL_FILE: &str = "model.onnx";
/// The most bytes that readers of Protocol Buffers take.
const MOST: usize = i32::MAX as usize;

/// Writes `model.onnx` and its weights into a folder, which is made if it is not there. A weight file of the cache is copied:
/// ONNX's own reader refuses hard links, and nobody can change the cache through a copy. Returns the paths, the model's first.
///
/// # Errors
/// E0010 if a file cannot be written, or one of these names is there and `overwrite` is false; E4001 if the graph has more
/// than 2 GiB without its weights. Nothing is written then.
pub fn write(whole: &WholeModel, folder: &Path, overwrite: bool) -> Result<Vec<PathBuf>, Diagnostic> {
    let graph = whole.model.to_bytes();
    if graph.len() > MOST {
        let message = format!("the graph has {} bytes with its constants, and an ONNX file holds at most {MOST}", graph.len());
        return Err(Diagnostic::error(Code::E4001, message).help("compute large constants from smaller ones"));
    }
    fs::create_dir_all(folder).map_err(|error| failed(folder, "the folder cannot be made", &error))?;
    let model = folder.join(MODEL_FILE);
    let weights: Vec<(PathBuf, &WeightContent)> = whole.weights.iter().map(|file| (folder.join(&file.name), &file.content)).collect();
    for (path, content) in &weights {
        if let (WeightContent::File(source), Ok(old)) = (content, path.canonicalize())
            && source.canonicalize().is_ok_and(|source| source == old)
        {
            return Err(failed(path, "the file is not written", &"it is the model's own weight file"));
        }
    }
    let paths: Vec<PathBuf> = [&model].into_iter().chain(weights.iter().map(|(path, _)| path)).cloned().collect();
    let there: Vec<&PathBuf> = paths.iter().filter(|path| path.symlink_metadata().is_ok()).collect();
    if let (Some(path), false) = (there.first(), overwrite) {
        return Err(failed(path, "the file is not written", &"it is there already"));
    }
    for path in there {
        // Never in place: it may be a link to something else.
        fs::remove_file(path).map_err(|error| failed(path, "the file cannot be replaced", &error))?;
    }
    for (path, content) in weights {
        write_weights(&path, content).map_err(|error| failed(&path, "the weights cannot be written", &error))?;
    }
    write_new(&model, |file| file.write_all(&graph)).map_err(|error| failed(&model, "the model cannot be written", &error))?;
    Ok(paths)
}

fn failed(path: &Path, what: &str, error: &dyn Display) -> Diagnostic {
    Diagnostic::error(Code::E0010, format!("{what}: {error}")).label(Span::file(path, ""), "")
}

fn write_weights(path: &Path, content: &WeightContent) -> io::Result<()> {
    match content {
        WeightContent::File(file) => write_new(path, |to| io::copy(&mut fs::File::open(file)?, to).map(drop)),
        WeightContent::Memory(tensors) => write_new(path, |file| {
            let mut end = 0;
            for (offset, tensor) in tensors {
                io::copy(&mut io::Read::take(io::repeat(0), offset - end), file)?;
                file.write_all(&tensor.to_le_bytes())?;
                end = offset + tensor.bytes() as u64;
            }
            Ok(())
        }),
    }
}

fn write_new(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(path)?);
    write(&mut file)?;
    file.flush()
}
