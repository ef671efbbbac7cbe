use hwdiff::{compare::*, emulated::Emulated, rng::Rng, sequence, traced::Traced};
fn main() {
    let usable = sequence::usable_forms();
    let mut t = Traced::new().unwrap();
    for seed in std::env::args().skip(1) {
    let case = sequence::program(&usable, 300, 3, &mut Rng::new(seed.parse().unwrap()));
    let mut e = Emulated::new(false);
    let h = t.run(&case).unwrap();
    for k in 0..h.states.len() {
        let s = e.after(&case, k as u64);
        let w = &h.states[k];
        if s.gpr != w.gpr || s.rip != w.rip || (s.rflags ^ w.rflags) & !0x10000 != 0 {
            println!("seed {seed} first differs after {k}\nhost {}\nemu  {}", registers(w), registers(&s));
            for n in k.saturating_sub(12)..=k { let at = (h.states[n].rip - 0x20000400) as usize; let mut d = iced_x86::Decoder::with_ip(64, &case.code[at..], h.states[n].rip, 0); println!("{n} {:x} {} flags {}", h.states[n].rip, d.decode(), flags(h.states[n].rflags)); }
            break;
        }
    }
    }
}
