//! The functions between the matrices of an MLP, by the names that Hugging Face has for them (`ACT2FN`).

use irc_ir::{diagnostic::Diagnostic, graph::NodeId, model::ModelBuilder, op::Op, tensor::Tensor, types::Name};

use super::config::Fields;

/// A function of each element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// x * sigmoid(x).
    Silu,
    /// x times the normal distribution function of x.
    Gelu,
    /// The same by way of tanh. Hugging Face has four ways to write it, which differ in rounding.
    GeluTanh,
    /// x * sigmoid(1.702 x).
    QuickGelu,
    /// [`Activation::Gelu`], kept between -10 and 10.
    ClippedGelu,
    /// The larger of x and 0.
    Relu,
    /// Its square.
    SquaredRelu,
    /// [`Activation::Relu`], at most 6.
    Relu6,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x.
    Linear,
}

/// By name.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("gelu_10", Activation::ClippedGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::SquaredRelu),
    ("relu6", Activation::Relu6),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("linear", Activation::Linear),
];

impl Activation {
    /// The activation of this name.
    pub fn named(name: &str) -> Option<Activation> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    /// The activation that a field names.
    pub(super) fn read(fields: Fields<'_>, field: &str, default: Activation) -> Result<Activation, Diagnostic> {
        let Some(name) = fields.text(field)? else { return Ok(default) };
        match Activation::named(name) {
            Some(activation) => Ok(activation),
            None => {
                let names = ACTIVATIONS.iter().map(|(name, _)| *name);
                let list = names.clone().collect::<Vec<_>>().join(", ");
                let error = fields.error(field, format!("is `{name}`, which is not supported"));
                Err(error.suggest(name, names).note(format!("it can be: {list}")))
            }
        }
    }

    /// The function of a value.
    pub fn apply(self, m: &mut ModelBuilder, x: NodeId) -> NodeId {
        // Without dimensions it takes the type of what it meets.
        let number = |m: &mut ModelBuilder, value: f32| m.node(Op::Const { value: (&Tensor::scalar(value)).into() }, []);
        let gelu = |m: &mut ModelBuilder, approximate: &str| m.node(Op::Gelu { approximate: Name::from(approximate) }, [x]);
        let relu = |m: &mut ModelBuilder| {
            let zero = number(m, 0.0);
            m.node(Op::Maximum {}, [x, zero])
        };
        match self {
            Activation::Silu => m.node(Op::Silu {}, [x]),
            Activation::Gelu => gelu(m, "none"),
            Activation::GeluTanh => gelu(m, "tanh"),
            Activation::QuickGelu => {
                let slope = number(m, 1.702);
                let steeper = m.mul(x, slope);
                let share = m.node(Op::Sigmoid {}, [steeper]);
                m.mul(x, share)
            }
            Activation::ClippedGelu => {
                let (y, least, most) = (gelu(m, "none"), number(m, -10.0), number(m, 10.0));
                let y = m.node(Op::Maximum {}, [y, least]);
                m.node(Op::Minimum {}, [y, most])
            }
            Activation::Relu => relu(m),
            Activation::SquaredRelu => {
                let y = relu(m);
                m.mul(y, y)
            }
            Activation::Relu6 => {
                let (y, most) = (relu(m), number(m, 6.0));
                m.node(Op::Minimum {}, [y, most])
            }
            Activation::Sigmoid => m.node(Op::Sigmoid {}, [x]),
            Activation::Tanh => m.node(Op::Tanh {}, [x]),
            Activation::Linear => x,
        }
    }
}
