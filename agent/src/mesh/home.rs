//! Which region a node is at home in: the nearest, but not for every whim of the network. Pure.

use std::ops::Range;
use std::time::Duration;

use engine::Timestamp;
use proto::control::{Region, RegionId};

/// How long a home may not serve before another is chosen; meanwhile the next region stands in.
const PATIENCE: Duration = Duration::from_secs(5);
/// When after the start a nearer region is taken at once: relays have answered some times by then, and few
/// peers have heard of the first home.
const SETTLING: Range<Duration> = Duration::from_millis(2500)..Duration::from_secs(10);
/// How long another has to be nearer later on, and as much again by chance: many nodes that see the same
/// change do not move in one moment.
const HOLD: Duration = Duration::from_secs(60);
/// What is nearer by less than this is as near.
const EQUAL: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Home {
    region: Option<RegionId>,
    /// When it was chosen, or served last.
    served: Timestamp,
    /// When the first one was chosen.
    first: Option<Timestamp>,
    /// A nearer one, and since when it has been.
    nearer: Option<(RegionId, Timestamp)>,
    hold: Duration,
}

impl Home {
    /// None yet; `random` is from nothing to one.
    pub(super) fn new(random: f64) -> Self {
        let hold = HOLD + HOLD.mul_f64(random.clamp(0.0, 1.0));
        Self { region: None, served: Timestamp::default(), first: None, nearer: None, hold }
    }

    pub(super) const fn region(&self) -> Option<RegionId> {
        self.region
    }

    /// Chooses, by how far relays of regions are; whether that is another than before. `serves` says whether
    /// the home does.
    pub(super) fn choose(
        &mut self,
        regions: &[Region],
        distance: impl Fn(RegionId) -> Option<Duration>,
        serves: bool,
        now: Timestamp,
    ) -> bool {
        let all = || regions.iter().filter(|region| !region.relays.is_empty()).map(|r| r.id);
        let near = all().filter_map(|id| Some((distance(id)?, id)));
        let held = self.region.filter(|held| all().any(|id| id == *held));
        let Some(held) = held else {
            return self.take(near.min().map(|(_, id)| id).or_else(|| all().next()), now);
        };
        if serves {
            self.served = now;
        } else if now - self.served >= PATIENCE {
            let others = near.filter(|(_, id)| *id != held).min().map(|(_, id)| id);
            let next = others.or_else(|| all().find(|id| *id != held));
            return next.is_some() && self.take(next, now);
        }
        let nearest = near.min();
        let clear = distance(held)
            .zip(nearest)
            .filter(|(far, (near, _))| *near < *far * 2 / 3 && far.saturating_sub(*near) >= EQUAL);
        let Some((_, (_, nearest))) = clear else {
            self.nearer = None;
            return false;
        };
        let since = self.nearer.filter(|(id, _)| *id == nearest).map_or(now, |(_, since)| since);
        self.nearer = Some((nearest, since));
        let settling = self.first.is_some_and(|first| SETTLING.contains(&(now - first)));
        (settling || now - since >= self.hold) && self.take(Some(nearest), now)
    }

    fn take(&mut self, region: Option<RegionId>, now: Timestamp) -> bool {
        let is_other = self.region != region;
        (self.region, self.served, self.nearer) = (region, now, None);
        if region.is_some() {
            self.first.get_or_insert(now);
        }
        is_other
    }
}

#[cfg(test)]
mod tests {
    use proto::control::Relay;

    use super::*;

    const A: RegionId = RegionId(1);
    const B: RegionId = RegionId(2);
    const C: RegionId = RegionId(3);

    struct Scene {
        home: Home,
        regions: Vec<Region>,
        now: Timestamp,
    }

    impl Scene {
        fn new(random: f64) -> Self {
            let relay = Relay {
                host: "relay.test".to_owned(),
                addresses: Vec::new(),
                tls_port: 443,
                quic_port: None,
                certificates: Vec::new(),
            };
            let region = |id| Region { id, name: String::new(), relays: vec![relay.clone()] };
            let regions = [A, B, C].map(region).to_vec();
            let now = Timestamp::from_epoch(Duration::from_secs(100));
            Self { home: Home::new(random), regions, now }
        }

        /// Looks once a second while regions are so many milliseconds away; zero says nothing is known.
        fn pass(&mut self, seconds: u64, far: [u64; 3], serves: bool) -> Option<RegionId> {
            for _ in 0..seconds {
                let far = |id: RegionId| {
                    let ms = far[usize::from(id.0) - 1];
                    (ms > 0).then(|| Duration::from_millis(ms))
                };
                self.home.choose(&self.regions, far, serves, self.now);
                self.now = self.now + Duration::from_secs(1);
            }
            self.home.region()
        }
    }

    #[test]
    fn it_is_the_nearest_as_soon_as_that_is_known() {
        let mut scene = Scene::new(0.0);
        assert_eq!(scene.pass(1, [0, 0, 0], false), Some(A), "nothing is known yet");
        assert_eq!(scene.pass(1, [80, 0, 60], true), Some(A), "as good as equal");
        assert_eq!(scene.pass(1, [80, 20, 60], true), Some(A), "one answer says little");
        assert_eq!(scene.pass(1, [80, 20, 60], true), Some(B));
    }

    #[test]
    fn it_stays_unless_another_is_clearly_nearer_for_long() {
        let mut scene = Scene::new(0.0);
        assert_eq!(scene.pass(30, [50, 100, 100], true), Some(A));
        for _ in 0..100 {
            assert_eq!(scene.pass(55, [50, 20, 100], true), Some(A));
            assert_eq!(scene.pass(1, [50, 45, 100], true), Some(A), "one that comes and goes");
        }
        assert_eq!(scene.pass(59, [50, 20, 100], true), Some(A));
        assert_eq!(scene.pass(2, [50, 20, 100], true), Some(B));
        assert_eq!(scene.pass(1000, [50, 48, 100], true), Some(B));
        let mut other = Scene::new(1.0);
        other.pass(30, [50, 100, 100], true);
        assert_eq!(other.pass(110, [50, 20, 100], true), Some(A), "others wait longer");
        assert_eq!(other.pass(20, [50, 20, 100], true), Some(B));
    }

    #[test]
    fn one_that_does_not_serve_is_left_though_it_was_near() {
        let mut scene = Scene::new(0.0);
        assert_eq!(scene.pass(30, [10, 50, 40], true), Some(A));
        assert_eq!(scene.pass(4, [10, 50, 40], false), Some(A), "it may come back");
        assert_eq!(scene.pass(2, [10, 50, 40], false), Some(C));
        assert_eq!(scene.pass(3, [0, 0, 0], false), Some(C), "time to serve");
        assert_eq!(scene.pass(3, [0, 0, 0], false), Some(A));
        scene.regions.remove(0);
        assert_eq!(scene.pass(1, [10, 50, 0], true), Some(B), "it is gone");
        scene.regions.clear();
        assert_eq!(scene.pass(1, [10, 50, 0], true), None);
    }
}
