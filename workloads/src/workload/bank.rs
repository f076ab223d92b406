//! Transfers between accounts, whose total must never change, and reads of all balances at once.
//!
//! A transfer reads both balances and writes both back in one transaction, so that two transfers at once
//! break the total unless the system isolates them.

use harness_core::generator::{BoxGenerator, Combine, OpSpec, from_fn};
use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use super::Load;

/// One operation in so many is a read.
const READ_ONE_IN: u32 = 3;

/// Parameters of the workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// How many accounts, numbered from 0.
    pub accounts: i64,
    /// What each has at first.
    pub balance: i64,
    /// The largest transfer.
    pub transfer_max: i64,
    /// Whether an account may go below 0.
    pub allow_negative: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            accounts: 8,
            balance: 10,
            transfer_max: 5,
            allow_negative: false,
        }
    }
}

impl Parameters {
    /// Accounts and what each has at first.
    pub fn initial(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let balance = self.balance;
        (0..self.accounts).map(move |account| (account, balance))
    }

    pub(super) fn options(&self) -> Value {
        json!({
            "total": self.accounts * self.balance,
            "accounts": (0..self.accounts).collect::<Vec<_>>(),
            "allow_negative": self.allow_negative,
        })
    }

    pub(super) fn load(&self, load: &Load) -> BoxGenerator {
        let Self {
            accounts,
            transfer_max,
            ..
        } = *self;
        let all = from_fn(
            load.seed.stream("workload/bank"),
            move |rng, _number, _context| {
                if rng.random_ratio(1, READ_ONE_IN) {
                    return OpSpec::new("read", ());
                }
                let from = rng.random_range(0..accounts);
                let to = (from + rng.random_range(1..accounts)) % accounts;
                let amount = rng.random_range(1..=transfer_max);
                OpSpec::new(
                    "transfer",
                    json!({ "from": from, "to": to, "amount": amount }),
                )
            },
        );
        super::paced(all.boxed(), load)
    }

    pub(super) fn final_reads(&self, load: &Load) -> BoxGenerator {
        super::read_on_every_thread(OpSpec::new("read", ()), load)
    }
}
