//! The diagnostic codes: one row each, with the text that `irc explain-code` prints.
//!
//! `E0xxx` text and files, `E1xxx` types and shapes, `E2xxx` hooks and forwards, `E3xxx` effects, loops and placement,
//! `E4xxx` limits and the environment, `Wxxxx` warnings: a program that is right, but hardly meant. A code is never reused for something else.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// A stable identifier of a kind of problem, printed as `error[E1003]`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $($(#[doc = $doc])+ $name,)* }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as printed: `E1003`.
            pub const fn name(self) -> &'static str { match self { $(Code::$name => stringify!($name),)* } }

            /// What the code means, why it is an error, and what to do about it.
            pub const fn explanation(self) -> &'static str { match self { $(Code::$name => concat!($($doc, "\n",)+),)* } }

            /// The code called `name`, in any case.
            pub fn from_name(name: &str) -> Option<Code> {
                Code::ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
            }
        }
    };
}

codes! {
    /// The text is not a program: a character or word stands where the grammar has no place for it.
    E0001,
    /// A value is used before it is defined, or is not defined at all. Values are defined once, above their uses.
    E0002,
    /// A name is defined twice. Every `%value` and every model of a program has one definition.
    E0003,
    /// There is no operation of this name. `irc check` names the nearest ones.
    E0004,
    /// An attribute is missing, unknown, given twice, or of the wrong kind.
    E0005,
    /// A literal cannot be read: a number out of range, a ragged list, an unfinished string.
    E0006,
    /// A file cannot be read: it is missing, or the system refuses it.
    E0010,
    /// A model file is damaged or of a format that is not supported; the message names the field.
    E0011,
    /// The cache holds something that this version cannot use; the message names the file and the field.
    E0012,
    /// A download failed, or what came is not what was expected.
    E0013,
    /// A program in CBOR is of a newer format than this version reads; the message names both versions.
    E0014,
    /// A program in CBOR is damaged, or the file is something else; the message names the byte and what is expected there.
    E0015,
    /// ONNX Runtime is not here, too old, damaged, or lacks a library that it needs; the message says which.
    E0016,
    /// The number of operands does not fit the operation.
    E1001,
    /// An operand has the wrong kind of type: a tensor was expected where a forward, tuple or string stands, or the reverse.
    E1002,
    /// Shapes do not fit together under PyTorch's broadcasting rules.
    E1003,
    /// A dimension is out of range for the tensor.
    E1004,
    /// An index or a slice lies outside its dimension, or cannot be decided for a symbolic size.
    E1005,
    /// The element type does not fit the operation.
    E1006,
    /// The type written in the program is not the type that the operation has.
    E1007,
    /// An attribute has a value that the operation does not allow.
    E1008,
    /// The model has no hook of this name. Hooks are Hugging Face module paths with `.output`, `.input` or a leaf name.
    E2001,
    /// The program names a model that it does not declare, or that is not here.
    E2002,
    /// A value written to a hook does not have the hook's shape and element type.
    E2003,
    /// Token ids must be a tensor of i64 with two dimensions, [batch, tokens], every id inside the vocabulary.
    E2004,
    /// The model has no module of this name that can be applied to values.
    E2005,
    /// An operation that is only for the inside of a model stands in a program, or the reverse.
    E2006,
    /// A value is needed at an earlier hook than the one it comes from, within one forward pass. A second trace can do it.
    E2007,
    /// A prompt string reached a place where only token ids are possible: this model has no tokenizer here.
    E2008,
    /// More tokens change what a forward computed before, because the model is not causal: it cannot be extended.
    E2009,
    /// A part of a prompt is asked for that is not in the prompt, or stands there several times.
    E2010,
    /// Two saves have one name; results are found by name, so each needs its own.
    E3001,
    /// A saved or logged value is not a tensor, tuple, list or string: a forward cannot leave the place where it runs.
    E3002,
    /// A value of another trace, session or step of a generation is used where it cannot be reached.
    E3003,
    /// A value that a loop carries comes out of the body with another type than it went in with.
    E3004,
    /// A condition is not one bool: that of an entry that runs only if it holds, or of the end of a loop.
    E3005,
    /// The result of an entry of the effect list is used where the entry has not run yet, or may not have run at all.
    E3006,
    /// The body of a loop does not fit the loop: its parameters, its results or its place.
    E3007,
    /// A loop whose body has effects stands among the values; it has a place among the effects: `do loop(…)`.
    E3008,
    /// The program calls a function that nobody has registered.
    E3009,
    /// A program that is to be an intervention has something that cannot be done in every step of a generation.
    E3010,
    /// The program is larger than a limit allows.
    E4001,
    /// Something that this command needs is not here: a model or its weights, a program, a network.
    E4002,
    /// The engine failed while it ran the program.
    E4003,
    /// The command line asks for something that does not exist or does not fit together.
    E4004,
    /// The backend cannot do what the program asks for; another one can.
    E4005,
    /// The run was cancelled before it came to its end. What it had saved by then is not returned; logs that were shown stay.
    E4006,
    /// A write changes nothing that is saved or logged: nobody reads the forward that it makes, or only at hooks that the
    /// written one does not reach. The write is not made.
    W0001,
    /// A saved value is constant: it is the same whatever the models compute.
    W0002,
    /// A value is compared with itself: two forwards with the same tokens and writes are one forward, and their difference is zero.
    W0003,
    /// A fixed position is taken of rows that are filled up with padding: it is another token in each of them. Prompts of several
    /// lengths need no padding here.
    W0004,
}
