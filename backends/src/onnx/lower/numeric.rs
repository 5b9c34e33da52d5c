//! Arithmetic, functions and what goes along dimensions, of several ONNX operators where none means the same: ONNX says
//! little of NaN, and engines differ in it.

use irc_ir::{
    attr::Float,
    diagnostic::Diagnostic,
    graph::Node,
    infer::{normalise_axis, reduced_axes},
    tensor::Tensor,
    types::DType,
};

use super::Lowering;
use crate::onnx::builder::cast;

impl Lowering<'_> {
    /// A number as a constant of an element type.
    pub(super) fn number(&mut self, value: f64, dtype: DType) -> String {
        self.constant(&cast(Tensor::scalar(value), dtype))
    }

    /// The base is expanded where the exponent has more dimensions: not every engine does so for an exponent of one element.
    pub(super) fn pow(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (mut base, exponent) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
        if self.tensor(node.operands[0])?.rank() < self.tensor(node.operands[1])?.rank() {
            base = self.expanded(&base, &exponent);
        }
        Ok(self.plain("Pow", &[&base, &exponent]))
    }

    /// A value broadcast to another.
    fn expanded(&mut self, x: &str, like: &str) -> String {
        let shape = self.plain("Shape", &[like]);
        self.plain("Expand", &[x, &shape])
    }

    /// Integers divide as they are, and floats with the sign of the dividend, which is all that ONNX has for them.
    pub(super) fn remainder(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (x, divisor) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
        if !dtype.is_float() {
            return Ok(self.emit("Mod", &[&x, &divisor], |node| node.attr("fmod", 0)));
        }
        let rest = self.emit("Mod", &[&x, &divisor], |node| node.attr("fmod", 1));
        let zero = self.number(0.0, dtype);
        let (below, divisor_below) = (self.plain("Less", &[&rest, &zero]), self.plain("Less", &[&divisor, &zero]));
        let differ = self.plain("Xor", &[&below, &divisor_below]);
        let whole = self.plain("Equal", &[&rest, &zero]);
        let some = self.plain("Not", &[&whole]);
        let wrong = self.plain("And", &[&differ, &some]);
        let other = self.plain("Add", &[&rest, &divisor]);
        Ok(self.plain("Where", &[&wrong, &other, &rest]))
    }

    pub(super) fn fmod(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (x, divisor) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
        Ok(self.emit("Mod", &[&x, &divisor], |node| node.attr("fmod", 1)))
    }

    /// Whether it is above 0, less whether it is below.
    pub(super) fn sign(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        if dtype == DType::Bool {
            return Ok(x);
        }
        let zero = self.number(0.0, dtype);
        let (above, below) = (self.plain("Greater", &[&x, &zero]), self.plain("Less", &[&x, &zero]));
        let (above, below) = (self.cast(&above, DType::Bool, dtype), self.cast(&below, DType::Bool, dtype));
        Ok(self.plain("Sub", &[&above, &below]))
    }

    pub(super) fn square(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        Ok(self.plain("Mul", &[&x, &x]))
    }

    /// A rounding, which leaves integers as they are.
    pub(super) fn rounding(&mut self, op: &str, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        Ok(if dtype.is_float() { self.plain(op, &[&x]) } else { x })
    }

    pub(super) fn trunc(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        Ok(if dtype.is_float() { self.towards_zero(&x, dtype) } else { x })
    }

    pub(super) fn frac(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let whole = self.towards_zero(&x, dtype);
        Ok(self.plain("Sub", &[&x, &whole]))
    }

    fn towards_zero(&mut self, x: &str, dtype: DType) -> String {
        let zero = self.number(0.0, dtype);
        let below = self.plain("Less", &[x, &zero]);
        let (up, down) = (self.plain("Ceil", &[x]), self.plain("Floor", &[x]));
        self.chosen(&below, &up, &down, dtype)
    }

    /// `yes` where a condition holds, and `no` elsewhere. ONNX Runtime's `Where` makes 0 of a -0 that it takes from its first values
    /// (from the second ones it takes all as they are), so that both are second ones beside 1, and a product is what was chosen.
    pub(super) fn chosen(&mut self, condition: &str, yes: &str, no: &str, dtype: DType) -> String {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return self.plain("Where", &[condition, yes, no]);
        }
        let (one, not) = (self.number(1.0, dtype), self.plain("Not", &[condition]));
        let (yes, no) = (self.plain("Where", &[&not, &one, yes]), self.plain("Where", &[condition, &one, no]));
        self.plain("Mul", &[&yes, &no])
    }

    /// The larger, or the smaller: NaN if there is one, and the first of equals. Of 0 and -0, `Max` and `Min` give either.
    pub(super) fn extremum(&mut self, op: &str, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (a, b) = (self.operand(node, 0, dtype)?, self.operand(node, 1, dtype)?);
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Ok(self.plain(op, &[&a, &b]));
        }
        // Comparisons with NaN do not hold.
        let kept = self.plain(if op == "Max" { "LessOrEqual" } else { "GreaterOrEqual" }, &[&b, &a]);
        let other = self.plain("Not", &[&kept]);
        let number = self.plain("Equal", &[&a, &a]);
        let other = self.plain("And", &[&number, &other]);
        Ok(self.chosen(&other, &b, &a, dtype))
    }

    /// Not `Clip` and `Relu`, which lose NaN in some engines, nor `Max` and `Min`, which lose the sign of a 0.
    pub(super) fn clamp(&mut self, node: &Node, dtype: DType, min: Option<f64>, max: Option<f64>) -> Result<String, Diagnostic> {
        let mut x = self.operand(node, 0, dtype)?;
        for (op, beyond, bound) in [("Max", "Less", min), ("Min", "Greater", max)] {
            if let Some(value) = bound {
                let bound = self.number(value, dtype);
                x = if !matches!(dtype, DType::F32 | DType::F64) || value.is_nan() {
                    self.plain(op, &[&x, &bound])
                } else {
                    let beyond = self.plain(beyond, &[&x, &bound]);
                    // Only a -0 has to be chosen with care.
                    if value == 0.0 && value.is_sign_negative() {
                        self.chosen(&beyond, &bound, &x, dtype)
                    } else {
                        self.plain("Where", &[&beyond, &bound, &x])
                    }
                };
            }
        }
        Ok(x)
    }

    pub(super) fn rsqrt(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let root = self.unary("Sqrt", node, dtype)?;
        Ok(self.plain("Reciprocal", &[&root]))
    }

    pub(super) fn exp2(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (two, x) = (self.number(2.0, dtype), self.operand(node, 0, dtype)?);
        let base = self.expanded(&two, &x);
        Ok(self.plain("Pow", &[&base, &x]))
    }

    /// The logarithm to a base of which this is the natural logarithm.
    pub(super) fn log_to(&mut self, base: f64, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let log = self.unary("Log", node, dtype)?;
        let factor = self.number(1.0 / base, dtype);
        Ok(self.plain("Mul", &[&log, &factor]))
    }

    pub(super) fn with_alpha(&mut self, op: &str, node: &Node, dtype: DType, alpha: Float) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        Ok(self.emit(op, &[&x], |node| node.attr("alpha", alpha.get() as f32)))
    }

    pub(super) fn softplus(&mut self, node: &Node, dtype: DType, beta: f64, threshold: f64) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let [beta, threshold] = [beta, threshold].map(|value| self.number(value, dtype));
        let scaled = self.plain("Mul", &[&x, &beta]);
        let bent = self.plain("Softplus", &[&scaled]);
        let bent = self.plain("Div", &[&bent, &beta]);
        let straight = self.plain("Greater", &[&scaled, &threshold]);
        Ok(self.plain("Where", &[&straight, &x, &bent]))
    }

    pub(super) fn mish(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let bent = self.plain("Softplus", &[&x]);
        let gate = self.plain("Tanh", &[&bent]);
        Ok(self.plain("Mul", &[&x, &gate]))
    }

    /// min(x, 0) - ln(1 + e^-|x|), which does not overflow.
    pub(super) fn log_sigmoid(&mut self, node: &Node, dtype: DType) -> Result<String, Diagnostic> {
        let (x, zero) = (self.operand(node, 0, dtype)?, self.number(0.0, dtype));
        let below = self.plain("Min", &[&x, &zero]);
        let size = self.plain("Abs", &[&x]);
        let negative = self.plain("Neg", &[&size]);
        let bent = self.plain("Softplus", &[&negative]);
        Ok(self.plain("Sub", &[&below, &bent]))
    }

    /// NaN is what does not equal itself.
    pub(super) fn isnan(&mut self, node: &Node) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, self.tensor(node.operands[0])?.dtype)?;
        let equal = self.plain("Equal", &[&x, &x]);
        Ok(self.plain("Not", &[&equal]))
    }

    pub(super) fn isinf(&mut self, node: &Node) -> Result<String, Diagnostic> {
        let (finite, nan) = (self.isfinite(node)?, self.isnan(node)?);
        let one_of_both = self.plain("Or", &[&finite, &nan]);
        Ok(self.plain("Not", &[&one_of_both]))
    }

    /// What is not finite leaves NaN when it is taken from itself.
    pub(super) fn isfinite(&mut self, node: &Node) -> Result<String, Diagnostic> {
        let dtype = self.tensor(node.operands[0])?.dtype;
        let x = self.operand(node, 0, dtype)?;
        if !dtype.is_float() {
            return Ok(self.plain("Equal", &[&x, &x]));
        }
        let (nothing, zero) = (self.plain("Sub", &[&x, &x]), self.number(0.0, dtype));
        Ok(self.plain("Equal", &[&nothing, &zero]))
    }

    /// Numbers in the order of the elements, with NaN above all: infinity stands for it, and the largest number for infinity.
    pub(super) fn ordered(&mut self, x: &str, dtype: DType) -> String {
        let largest = match dtype {
            DType::F16 => 65504.0,
            DType::BF16 => f64::from(f32::from_bits(0x7f7f_0000)),
            DType::F64 => f64::MAX,
            DType::F32 | DType::I64 | DType::I32 | DType::U8 | DType::Bool => f64::from(f32::MAX),
        };
        let [largest, infinity] = [largest, f64::INFINITY].map(|number| self.number(number, dtype));
        let (number, below) = (self.plain("Equal", &[x, x]), self.plain("Min", &[x, &largest]));
        self.plain("Where", &[&number, &below, &infinity])
    }

    /// The largest or the smallest, NaN if there is one.
    pub(super) fn extreme(&mut self, op: &str, node: &Node, dtype: DType, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        self.extreme_of(op, &x, node, dtype, dims, keepdim)
    }

    /// The same of a value with the dimensions of operand 0. Engines lose NaN.
    fn extreme_of(&mut self, op: &str, x: &str, node: &Node, dtype: DType, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let found = self.reduced(op, x, node, dims, keepdim)?;
        if !dtype.is_float() || self.tensor(node.operands[0])?.rank() == 0 {
            return Ok(found);
        }
        let (number, zero) = (self.plain("Equal", &[x, x]), self.number(0.0, dtype));
        let nan = self.plain("Where", &[&number, &zero, x]);
        let nan = self.reduced("ReduceSum", &nan, node, dims, keepdim)?;
        Ok(self.plain("Add", &[&found, &nan]))
    }

    /// `argmax`, or `argmin`, which of floats is that of the negative: NaN is found by both.
    pub(super) fn arg_extreme(&mut self, node: &Node, dim: Option<i64>, keepdim: bool, smallest: bool) -> Result<String, Diagnostic> {
        let ty = self.tensor(node.operands[0])?;
        let rank = ty.rank();
        let mut x = self.operand(node, 0, ty.dtype)?;
        let negated = smallest && ty.dtype.is_float();
        if negated {
            x = self.plain("Neg", &[&x]);
        }
        let at = match dim {
            Some(dim) => normalise_axis(dim, rank).map_or(dim, |at| at as i64),
            None => {
                let flat = self.ints(&[-1]);
                x = self.plain("Reshape", &[&x, &flat]);
                0
            }
        };
        // Not ArgMax: engines differ in which of equal elements they take.
        let one = self.ints(&[1]);
        let [_, found] = self.top(&x, ty.dtype, &one, at, !smallest || negated);
        Ok(match (dim, keepdim) {
            (Some(_), true) => found,
            (Some(_), false) => {
                let axes = self.ints(&[at]);
                self.plain("Squeeze", &[&found, &axes])
            }
            (None, _) => {
                let ones = self.ints(&vec![1; if keepdim { rank } else { 0 }]);
                self.plain("Reshape", &[&found, &ones])
            }
        })
    }

    /// All elements of the dimension in order, and their indices.
    pub(super) fn sort(&mut self, node: &Node, dim: i64, descending: bool) -> Result<[String; 2], Diagnostic> {
        let ty = self.tensor(node.operands[0])?;
        let at = normalise_axis(dim, ty.rank()).map_or(dim, |at| at as i64);
        // ONNX does not order bools.
        let dtype = if ty.dtype == DType::Bool { DType::I32 } else { ty.dtype };
        let x = self.operand(node, 0, dtype)?;
        let (shape, axis) = (self.plain("Shape", &[&x]), self.ints(&[at]));
        let all = self.emit("Gather", &[&shape, &axis], |node| node.attr("axis", 0));
        let [values, indices] = self.top(&x, dtype, &all, at, descending);
        Ok([self.cast(&values, dtype, ty.dtype), indices])
    }

    pub(super) fn cumsum(&mut self, node: &Node, dtype: DType, dim: i64) -> Result<String, Diagnostic> {
        let rank = self.tensor(node.operands[0])?.rank();
        let x = self.operand(node, 0, dtype)?;
        let axis = self.constant(&Tensor::scalar(normalise_axis(dim, rank).map_or(dim, |at| at as i64)));
        Ok(self.plain("CumSum", &[&x, &axis]))
    }

    /// A reduction of a value with the dimensions of operand 0.
    fn reduced(&mut self, op: &str, x: &str, node: &Node, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let rank = self.tensor(node.operands[0])?.rank();
        if rank == 0 {
            return Ok(x.to_owned());
        }
        let axes: Vec<i64> = reduced_axes(dims, rank).unwrap_or_default().into_iter().map(|at| at as i64).collect();
        let axes = self.ints(&axes);
        Ok(self.emit(op, &[x, &axes], |node| node.attr("keepdims", i64::from(keepdim))))
    }

    /// `any`: how many are not zero is not 0. `all`: how many are zero is 0.
    pub(super) fn quantifier(&mut self, node: &Node, dtype: DType, dims: &[i64], keepdim: bool, all: bool) -> Result<String, Diagnostic> {
        let mut x = self.operand(node, 0, DType::Bool)?;
        if all {
            x = self.plain("Not", &[&x]);
        }
        let counted = self.cast(&x, DType::Bool, DType::I32);
        let count = self.reduced("ReduceSum", &counted, node, dims, keepdim)?;
        let zero = self.number(0.0, DType::I32);
        let mut none = self.plain("Equal", &[&count, &zero]);
        if !all {
            none = self.plain("Not", &[&none]);
        }
        Ok(self.cast(&none, DType::Bool, dtype))
    }

    /// The largest is taken away before e^x and added again after the logarithm, unless it is infinite.
    pub(super) fn logsumexp(&mut self, node: &Node, dtype: DType, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let largest = self.reduced("ReduceMax", &x, node, dims, true)?;
        let (nothing, zero) = (self.plain("Sub", &[&largest, &largest]), self.number(0.0, dtype));
        let finite = self.plain("Equal", &[&nothing, &zero]);
        let shift = self.plain("Where", &[&finite, &largest, &zero]);
        let below = self.plain("Sub", &[&x, &shift]);
        let powers = self.plain("Exp", &[&below]);
        let sum = self.reduced("ReduceSum", &powers, node, dims, true)?;
        let log = self.plain("Log", &[&sum]);
        let result = self.plain("Add", &[&log, &shift]);
        let rank = self.tensor(node.operands[0])?.rank();
        if keepdim || rank == 0 {
            return Ok(result);
        }
        let axes: Vec<i64> = reduced_axes(dims, rank).unwrap_or_default().into_iter().map(|at| at as i64).collect();
        let axes = self.ints(&axes);
        Ok(self.plain("Squeeze", &[&result, &axes]))
    }

    pub(super) fn norm(&mut self, node: &Node, dtype: DType, p: f64, dims: &[i64], keepdim: bool) -> Result<String, Diagnostic> {
        let x = self.operand(node, 0, dtype)?;
        let size = self.plain("Abs", &[&x]);
        match p {
            0.0 => {
                let some = self.cast(&x, dtype, DType::Bool);
                let counted = self.cast(&some, DType::Bool, dtype);
                self.reduced("ReduceSum", &counted, node, dims, keepdim)
            }
            1.0 => self.reduced("ReduceSum", &size, node, dims, keepdim),
            2.0 => {
                let squares = self.plain("Mul", &[&x, &x]);
                let sum = self.reduced("ReduceSum", &squares, node, dims, keepdim)?;
                Ok(self.plain("Sqrt", &[&sum]))
            }
            f64::INFINITY => self.extreme_of("ReduceMax", &size, node, dtype, dims, keepdim),
            f64::NEG_INFINITY => self.extreme_of("ReduceMin", &size, node, dtype, dims, keepdim),
            _ => {
                let (power, root) = (self.number(p, dtype), self.number(1.0 / p, dtype));
                let powers = self.plain("Pow", &[&size, &power]);
                let sum = self.reduced("ReduceSum", &powers, node, dims, keepdim)?;
                Ok(self.plain("Pow", &[&sum, &root]))
            }
        }
    }

    /// The sum of squared distances from the mean over the number of elements less the correction.
    pub(super) fn var(&mut self, node: &Node, dtype: DType, dims: &[i64], correction: i64, keepdim: bool) -> Result<String, Diagnostic> {
        let ty = self.tensor(node.operands[0])?;
        let axes = reduced_axes(dims, ty.rank()).unwrap_or_default();
        let x = self.operand(node, 0, dtype)?;
        let mean = self.reduced("ReduceMean", &x, node, dims, true)?;
        let distance = self.plain("Sub", &[&x, &mean]);
        let squares = self.plain("Mul", &[&distance, &distance]);
        let sum = self.reduced("ReduceSum", &squares, node, dims, keepdim)?;
        let divisor = match axes.iter().try_fold(1i64, |product, &at| product.checked_mul(ty.shape[at].as_known()?)) {
            Some(count) => self.number(count.saturating_sub(correction).max(0) as f64, dtype),
            None => {
                let axes: Vec<i64> = axes.into_iter().map(|at| at as i64).collect();
                let (shape, axes, first) = (self.plain("Shape", &[&x]), self.ints(&axes), self.ints(&[0]));
                let sizes = self.emit("Gather", &[&shape, &axes], |node| node.attr("axis", 0));
                let count = self.emit("ReduceProd", &[&sizes, &first], |node| node.attr("keepdims", 0));
                let count = self.cast(&count, DType::I64, dtype);
                let (correction, zero) = (self.number(correction as f64, dtype), self.number(0.0, dtype));
                let divisor = self.plain("Sub", &[&count, &correction]);
                self.plain("Max", &[&divisor, &zero])
            }
        };
        Ok(self.plain("Div", &[&sum, &divisor]))
    }
}
