//! What this machine has for CUDA: asked of the system's loader and of NVIDIA's driver, whose answers are those that ONNX Runtime
//! gets.

use std::{
    ffi::{CStr, c_char, c_int, c_uint},
    mem, ptr,
};

use irc_ir::{code::Code, diagnostic::Diagnostic};
use libloading::Library;

/// What the CUDA provider of ONNX Runtime 1.31 is linked to, apart from the driver, and cuDNN, which it loads for reductions and
/// convolutions.
pub const LIBRARIES: [&str; 5] = ["libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudart.so.13", "libcudnn.so.9"];

/// The driver's library, which comes with the driver alone.
const DRIVER: &str = "libcuda.so.1";

/// The oldest CUDA that a driver may be for, as it counts: 13.0.
const OLDEST: c_int = 13_000;

/// Those of [`LIBRARIES`] that the system's loader does not find, or cannot load.
pub fn unloadable() -> Vec<&'static str> {
    LIBRARIES.into_iter().filter(|name| load(name).is_err()).collect()
}

/// The cards that programs can use, by name, in the driver's order; at least one.
///
/// # Errors
/// E0016 if there is no driver, it is older than CUDA 13, or it shows no card.
pub fn devices() -> Result<Vec<String>, Diagnostic> {
    let driver = load(DRIVER)
        .map_err(|_| missing(format!("there is no NVIDIA driver here ({DRIVER} cannot be loaded), so there is no card to compute on")))?;
    // SAFETY: these are the signatures of the functions in cuda.h, which have not changed since CUDA 3.2.
    unsafe {
        let start: Start = function(driver, c"cuInit")?;
        let version: Version = function(driver, c"cuDriverGetVersion")?;
        let count: Count = function(driver, c"cuDeviceGetCount")?;
        let device: Device = function(driver, c"cuDeviceGet")?;
        let name: NameOf = function(driver, c"cuDeviceGetName")?;
        let text: Text = function(driver, c"cuGetErrorString")?;
        let checked = |code: c_int| if code == 0 { Ok(()) } else { Err(failed(text, code)) };

        checked(start(0))?;
        let mut found = 0;
        checked(version(&mut found))?;
        if found < OLDEST {
            let (major, minor) = (found / 1000, found % 1000 / 10);
            return Err(missing(format!("the NVIDIA driver is for CUDA {major}.{minor}, and 13.0 is the oldest that works"))
                .help("a driver of the series 580 or later has it"));
        }
        let mut cards = 0;
        checked(count(&mut cards))?;
        let mut names = vec![];
        for at in 0..cards {
            let (mut handle, mut bytes) = (0, [0 as c_char; 256]);
            checked(device(&mut handle, at))?;
            // One byte less than there are: the text ends in a zero whatever the driver does.
            checked(name(bytes.as_mut_ptr(), bytes.len() as c_int - 1, handle))?;
            names.push(CStr::from_ptr(bytes.as_ptr()).to_string_lossy().into_owned());
        }
        match names.is_empty() {
            true => Err(missing("the NVIDIA driver shows no card")),
            false => Ok(names),
        }
    }
}

type Start = unsafe extern "C" fn(c_uint) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int) -> c_int;
type Count = unsafe extern "C" fn(*mut c_int) -> c_int;
type Device = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type NameOf = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type Text = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;

/// Loads a library for as long as the process lives: those of NVIDIA do not expect to go.
fn load(name: &str) -> Result<&'static Library, libloading::Error> {
    // SAFETY: what initializes itself here is NVIDIA's, and is loaded by ONNX Runtime just so.
    unsafe { Library::new(name) }.map(|library| &*Box::leak(Box::new(library)))
}

/// A function of the driver.
///
/// # Safety
/// `F` is the type of the function called `name`.
unsafe fn function<F: Copy>(driver: &Library, name: &CStr) -> Result<F, Diagnostic> {
    const { assert!(mem::size_of::<F>() == mem::size_of::<*const ()>()) };
    // SAFETY: what the caller promises.
    let found = unsafe { driver.get::<F>(name) };
    found.map(|function| *function).map_err(|error| missing(format!("the NVIDIA driver cannot be used: {error}")))
}

fn failed(text: Text, code: c_int) -> Diagnostic {
    let mut said = ptr::null();
    // SAFETY: the driver stores the address of a text of its own, or nothing.
    let said = unsafe {
        text(code, &mut said);
        if said.is_null() { "unknown".into() } else { CStr::from_ptr(said).to_string_lossy() }
    };
    missing(format!("the NVIDIA driver cannot be used: {said} (CUDA error {code})"))
}

fn missing(why: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::E0016, why)
}
