//! Results of batches: one tensor a row, or padded to one tensor.

use irc_ir::{
    code::Code,
    diagnostic::Diagnostic,
    eval::{Value, eval},
    op::Op,
    tensor::Tensor,
};

use super::Results;

/// On which side rows are filled up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Before the first token.
    Left,
    /// After the last token.
    Right,
}

impl Results {
    /// The tensors of a tuple, such as [`Rows::save`](crate::trace::Rows::save) makes: one for each row.
    ///
    /// # Errors
    /// E4004 if nothing was saved under the name, or something else.
    pub fn rows(&self, name: &str) -> Result<Vec<&Tensor>, Diagnostic> {
        let value = self.get(name)?;
        let parts = if let Value::Tuple(parts) = value { parts.iter().map(Value::as_tensor).collect() } else { None };
        parts.ok_or_else(|| Diagnostic::error(Code::E4004, format!("\"{name}\" is {}, not a tuple of tensors", value.ty())))
    }

    /// The rows of a batch as one tensor, for those who want a rectangle: one after the other along the first dimension, all
    /// others filled up with `value` to the longest. Nothing is computed on padding: it is how rows are shown.
    ///
    /// # Errors
    /// E4004 as for [`Results::rows`], or if the rows have different numbers of dimensions or element types.
    pub fn padded(&self, name: &str, side: Side, value: f64) -> Result<Tensor, Diagnostic> {
        padded(&self.rows(name)?, side, value)
            .map_err(|message| Diagnostic::error(Code::E4004, format!("\"{name}\" cannot be padded: {message}")))
    }
}

fn padded(rows: &[&Tensor], side: Side, value: f64) -> Result<Tensor, String> {
    let [first, ..] = rows else { return Err("it has no rows".to_owned()) };
    if rows.iter().any(|row| row.rank() != first.rank() || row.dtype() != first.dtype() || row.rank() == 0) {
        let types = rows.iter().map(|row| row.ty().to_string()).collect::<Vec<_>>().join(", ");
        return Err(format!("its rows are {types}"));
    }
    let joined = |dim: usize, parts: &[Value]| {
        let op = Op::Cat { dim: dim as i64 };
        eval(&op, &parts.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
    };
    let mut filled: Vec<Value> = rows.iter().map(|row| Value::Tensor((*row).clone())).collect();
    for dim in 1..first.rank() {
        let longest = rows.iter().map(|row| row.shape()[dim]).max().unwrap_or(0);
        for (row, own) in filled.iter_mut().zip(rows) {
            let Some(tensor) = row.as_tensor().filter(|_| own.shape()[dim] < longest) else { continue };
            let mut shape = tensor.shape().to_vec();
            shape[dim] = longest - own.shape()[dim];
            let fill = Value::Tensor(Tensor::new(&shape, vec![value; shape.iter().product()]));
            let fill = eval(&Op::Cast { dtype: first.dtype() }, &[&fill]).map_err(|error| error.to_string())?;
            *row = match side {
                Side::Left => joined(dim, &[fill, row.clone()])?,
                Side::Right => joined(dim, &[row.clone(), fill])?,
            };
        }
    }
    let all = joined(0, &filled)?;
    all.as_tensor().cloned().ok_or_else(|| "it is no tensor".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filled_up_in_all_dimensions() {
        let rows = [Tensor::new([1, 2, 1], vec![1i64, 2]), Tensor::new([2, 1, 2], vec![3i64, 4, 5, 6])];
        let rows = [&rows[0], &rows[1]];
        let left = padded(&rows, Side::Left, -1.0).unwrap();
        assert_eq!((left.shape(), left.values::<i64>().unwrap()), (&[3, 2, 2][..], &[-1, 1, -1, 2, -1, -1, 3, 4, -1, -1, 5, 6][..]));
        let right = padded(&rows, Side::Right, 0.0).unwrap();
        assert_eq!(right.values::<i64>().unwrap(), [1, 0, 2, 0, 3, 4, 0, 0, 5, 6, 0, 0]);
        assert!(padded(&[], Side::Left, 0.0).is_err());
        assert!(padded(&[rows[0], &Tensor::scalar(1i64)], Side::Left, 0.0).is_err());
    }
}
