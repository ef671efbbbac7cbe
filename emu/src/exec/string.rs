use super::{Bound, Unsupported};
use crate::block::Builder;
use crate::decode::Insn;
pub(crate) fn bind(_i: &Insn, _b: &mut Builder) -> Bound { Err(Unsupported) }
