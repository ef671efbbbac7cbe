//! The constants, longer than any result.

use super::Env;
use super::round::Wide;
use crate::state::X80;

/// SDM Vol. 2A, FLDPI.
pub(crate) const PI: Wide = Wide { sign: false, exp: 1, sig: 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1 };
/// SDM Vol. 2A, FLDL2T.
pub(crate) const LOG2_10: Wide = Wide { sign: false, exp: 1, sig: 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c };
/// SDM Vol. 2A, FLDL2E.
pub(crate) const LOG2_E: Wide = Wide { sign: false, exp: 0, sig: 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88 };
/// SDM Vol. 2A, FLDLG2.
pub(crate) const LOG10_2: Wide = Wide { sign: false, exp: -2, sig: 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178 };
/// SDM Vol. 2A, FLDLN2.
pub(crate) const LN_2: Wide = Wide { sign: false, exp: -1, sig: 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af };

impl Wide {
    /// To double extended precision under the rounding mode, which raises nothing.
    pub(crate) fn rounded(self, env: &Env) -> X80 {
        self.round(64, &mut Env { ..*env })
    }
}
