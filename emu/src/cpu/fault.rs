//! Exceptions as values (SDM Vol. 3A, chapter 6).

/// An exception of the instruction in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) vector: u8,
    pub(crate) error: Option<u32>,
    /// What CR2 gets (#PF only).
    pub(crate) address: u64,
}

/// What stops an instruction from retiring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// An exception: deliver it.
    Fault(Fault),
    /// A query has no answer yet.
    Starved,
    /// A REP instruction has used up its iterations, or a gather has a debug trap to show before it goes on; what it did
    /// is committed.
    Rep,
}

impl From<Fault> for Trap {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Vectors (SDM Vol. 3A, table 6-1).
pub(crate) mod vector {
    pub(crate) const DE: u8 = 0;
    pub(crate) const DB: u8 = 1;
    pub(crate) const NMI: u8 = 2;
    pub(crate) const BP: u8 = 3;
    pub(crate) const OF: u8 = 4;
    pub(crate) const BR: u8 = 5;
    pub(crate) const UD: u8 = 6;
    pub(crate) const NM: u8 = 7;
    pub(crate) const DF: u8 = 8;
    pub(crate) const TS: u8 = 10;
    pub(crate) const NP: u8 = 11;
    pub(crate) const SS: u8 = 12;
    pub(crate) const GP: u8 = 13;
    pub(crate) const PF: u8 = 14;
    pub(crate) const MF: u8 = 16;
    pub(crate) const AC: u8 = 17;
    pub(crate) const XM: u8 = 19;
}

impl Fault {
    const fn plain(vector: u8) -> Self {
        Self { vector, error: None, address: 0 }
    }

    const fn coded(vector: u8, error: u32) -> Self {
        Self { vector, error: Some(error), address: 0 }
    }

    /// #DE.
    pub(crate) const DE: Self = Self::plain(vector::DE);
    /// #DB.
    pub(crate) const DB: Self = Self::plain(vector::DB);
    /// #BR.
    pub(crate) const BR: Self = Self::plain(vector::BR);
    /// #UD.
    pub(crate) const UD: Self = Self::plain(vector::UD);
    /// #NM.
    pub(crate) const NM: Self = Self::plain(vector::NM);
    /// #GP(0).
    pub(crate) const GP0: Self = Self::gp(0);
    /// #SS(0).
    pub(crate) const SS0: Self = Self::coded(vector::SS, 0);
    /// #AC(0).
    pub(crate) const AC0: Self = Self::coded(vector::AC, 0);
    /// #MF.
    pub(crate) const MF: Self = Self::plain(vector::MF);
    /// #XM.
    pub(crate) const XM: Self = Self::plain(vector::XM);

    /// #GP with a selector error code.
    pub(crate) const fn gp(error: u32) -> Self {
        Self::coded(vector::GP, error)
    }

    /// #SS with a selector error code.
    pub(crate) const fn ss(error: u32) -> Self {
        Self::coded(vector::SS, error)
    }

    /// #NP.
    pub(crate) const fn np(error: u32) -> Self {
        Self::coded(vector::NP, error)
    }

    /// #TS.
    pub(crate) const fn ts(error: u32) -> Self {
        Self::coded(vector::TS, error)
    }

    /// #PF (SDM Vol. 3A, 4.7).
    pub(crate) const fn page(address: u64, error: u32) -> Self {
        Self { vector: vector::PF, error: Some(error), address }
    }
}
