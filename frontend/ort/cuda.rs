//! Whether ONNX Runtime can compute on NVIDIA cards here, and what computes where nobody says what.

use std::path::Path;

use irc_backends::ort::cuda::{devices, unloadable};
use irc_ir::{code::Code, diagnostic::Diagnostic};

use super::{Library, Target, VARIABLE, cached, own_library};

/// What is here for computing on NVIDIA cards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cuda {
    /// No build of ONNX Runtime for CUDA, and why.
    NotSetUp(Diagnostic),
    /// There is one.
    SetUp {
        /// The build.
        library: Library,
        /// The libraries of NVIDIA that it needs and that cannot be loaded.
        missing: Vec<&'static str>,
        /// The cards, by name, or why there is none.
        cards: Result<Vec<String>, Diagnostic>,
    },
}

/// Where the libraries of NVIDIA come from.
const HAVE_THEM: &str = "CUDA 13 and cuDNN 9 have them, as do pip's `nvidia-cuda-runtime~=13.0`, `nvidia-curand~=10.0` and \
    `nvidia-cudnn-cu13~=9.0`; LD_LIBRARY_PATH names the folders that they are in";

/// What computes where nobody says what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultEngine {
    /// rten, on the processor: the same bits everywhere.
    Rten,
    /// ONNX Runtime, on an NVIDIA card.
    OrtOnCuda,
}

impl Cuda {
    /// Looks for it: the library at `explicit`, else the one that `IRC_ORT_LIBRARY` names, else the build for CUDA that
    /// `irc setup ort --cuda` brought.
    ///
    /// Without a build the driver is not asked, so that nobody who has none waits for the answer.
    pub fn find(explicit: Option<&Path>) -> Cuda {
        match with_cuda(explicit) {
            Err(why) => Cuda::NotSetUp(why),
            Ok(library) => Cuda::SetUp { library, missing: unloadable(), cards: devices() },
        }
    }

    /// The build, and the cards that it can compute on.
    ///
    /// # Errors
    /// E0016 with all that is missing and what can be done about it.
    pub fn usable(&self) -> Result<(&Library, &[String]), Diagnostic> {
        let (library, missing, cards) = match self {
            Cuda::NotSetUp(why) => return Err(why.clone()),
            Cuda::SetUp { library, missing, cards } => (library, missing, cards),
        };
        let mut why = vec![];
        let mut help = vec![];
        if let Err(error) = cards {
            why.push(error.message.clone());
            help.extend(error.help.iter().cloned());
        }
        if !missing.is_empty() {
            why.push(format!("{} cannot be loaded", missing.join(", ")));
            help.push(HAVE_THEM.to_owned());
        }
        match cards {
            Ok(cards) if why.is_empty() => Ok((library, cards)),
            _ => Err(help.into_iter().fold(cannot(why.join("; ")), Diagnostic::help)),
        }
    }

    /// What computes where nobody says what: ONNX Runtime where its build for CUDA is set up and a card can be used, else rten.
    /// Where a card is here, and the build, but it cannot be used, the second is why.
    pub fn default_engine(&self) -> (DefaultEngine, Option<Diagnostic>) {
        match (self, self.usable()) {
            (_, Ok(_)) => (DefaultEngine::OrtOnCuda, None),
            (Cuda::SetUp { cards: Ok(_), .. }, Err(why)) => (DefaultEngine::Rten, Some(why)),
            (Cuda::SetUp { cards: Err(_), .. } | Cuda::NotSetUp(_), Err(_)) => (DefaultEngine::Rten, None),
        }
    }
}

fn with_cuda(explicit: Option<&Path>) -> Result<Library, Diagnostic> {
    let named = explicit.map(Path::to_owned).or_else(own_library);
    let set_up = || cached(&[Target::Cuda])?.ok_or_else(|| cannot("no build for it is set up").help("run `irc setup ort --cuda`"));
    let library = Library::open(&named.map_or_else(set_up, Ok)?)?;
    match library.has_cuda() {
        true => Ok(library),
        false => Err(cannot(format!("{} was built without it", library.path.display())).help(format!(
            "`irc setup ort --cuda` brings a build with it, which is used where neither `--ort-library` nor {VARIABLE} name one"
        ))),
    }
}

fn cannot(why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(Code::E0016, format!("ONNX Runtime cannot compute on CUDA: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_up(missing: &[&'static str], cards: Result<&[&str], &str>) -> Cuda {
        let library = Library { path: "/lib/libonnxruntime.so.1.31.1".into(), version: "1.31.1".into(), providers: vec!["cuda".into()] };
        let cards = cards.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Cuda::SetUp { library, missing: missing.to_vec(), cards: cards.map_err(|why| Diagnostic::error(Code::E0016, why)) }
    }

    #[test]
    fn the_default_is_a_card_where_one_can_be_used() {
        let not_set_up = Cuda::NotSetUp(cannot("no build for it is set up"));
        let card = Ok(&["NVIDIA H100"][..]);
        let cases = [
            (not_set_up, DefaultEngine::Rten, None, "no build"),
            (set_up(&[], Err("there is no driver")), DefaultEngine::Rten, None, "there is no driver"),
            (set_up(&["libcublas.so.13"], Err("there is no driver")), DefaultEngine::Rten, None, "no driver; libcublas.so.13 cannot"),
            (set_up(&["libcublas.so.13"], card), DefaultEngine::Rten, Some("libcublas.so.13"), "libcublas.so.13"),
            (set_up(&[], card), DefaultEngine::OrtOnCuda, None, ""),
        ];
        for (cuda, engine, said, why) in cases {
            let (found, warning) = cuda.default_engine();
            assert_eq!(found, engine, "{cuda:?}");
            assert_eq!(warning.is_some(), said.is_some(), "{cuda:?}");
            assert!(warning.is_none_or(|warning| warning.message.contains(said.unwrap_or_default())), "{cuda:?}");
            match cuda.usable() {
                Ok((library, cards)) => assert!(engine == DefaultEngine::OrtOnCuda && library.has_cuda() && cards == ["NVIDIA H100"]),
                Err(error) => assert!(error.message.contains(why) && !why.is_empty(), "{error}"),
            }
        }
    }
}
