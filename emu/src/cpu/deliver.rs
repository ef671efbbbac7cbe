use super::Cpu; use super::fault::Fault;
impl Cpu {
 pub(crate) fn deliver_fault(&mut self, _f: Fault) -> Result<(), ()> { Err(()) }
 pub(crate) fn deliver_interrupt(&mut self, _v: u8) -> Result<(), ()> { Err(()) }
}
