//! How other programs name a backbone: what they put before the names, and their own words for its parts.
//!
//! Nobody has to say which program wrote a file. Of all prefixes and ways of naming, that one is taken under which most of the
//! network's names are found; where a file holds two networks alike, the one that is meant for downstream tasks.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

use candle_core::Result;

use super::refuse;

/// Under which prefix and by which words a file names the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Naming {
    /// Containers and wrappers: `state_dict.module.encoder_q.`; empty where there are none.
    prefix: String,
    words: Words,
}

/// What stands behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Words {
    /// The network's own: torchvision's for a ResNet, DeepCluster's for AlexNet.
    Own,
    /// Positions in a sequence: 0 is the first convolution, 1 its batch norm, and the first stage is here.
    Positions { first_stage: usize },
    /// `Own`, but DeepCluster wraps its `features` alone: `features.module.0.weight`.
    WrappedFeatures,
}

/// Relu and max pool lie between batch norm and first stage (lightly and others, of torchvision's network), relu alone, or neither.
const WORDS: [Words; 5] = [
    Words::Own,
    Words::WrappedFeatures,
    Words::Positions { first_stage: 4 },
    Words::Positions { first_stage: 3 },
    Words::Positions { first_stage: 2 },
];

/// What a part of the prefix tells of the program; the first that is there.
const PROGRAMS: [(&str, &str); 11] = [
    ("encoder_q.", "MoCo's, of the query encoder"),
    ("encoder_k.", "MoCo's, of the momentum encoder"),
    ("teacher.", "DINO's, of the teacher"),
    ("student.", "DINO's, of the student"),
    ("momentum_backbone.", "solo-learn's, of the momentum backbone"),
    ("online_net.", "BYOL's, of the online network"),
    ("target_net.", "BYOL's, of the target network"),
    ("convnet.", "SimCLR's"),
    ("encoder.", "SimCLR's"),
    ("backbone.", "OpenSelfSup's, mmselfsup's or solo-learn's"),
    ("module.", "of a network trained on several GPUs, as SwAV's"),
];

/// Parts of the prefix of a copy that trails behind, or that its method does not hand on.
///
/// Of other copies the one called `backbone.` is taken: mmselfsup saves one network as `backbone.` and `encoder_q.0.`.
const SECOND_CHOICE: [&str; 5] = ["encoder_k.", "momentum", "student.", "target_net.", "ema"];

/// What follows a backbone in the methods that these files come from: classifiers, projections, queues.
const HEADS: [&str; 14] = [
    "fc",
    "head",
    "heads",
    "neck",
    "classifier",
    "projection_head",
    "projector",
    "predictor",
    "prototypes",
    "top_layer",
    "last_layer",
    "queue",
    "queue_ptr",
    "sobel_layer",
];

impl Naming {
    /// The naming under which most of `network`'s names are among `names`; `None` where none is.
    ///
    /// # Errors
    /// Where two hold equally many and nothing says which is meant.
    pub(super) fn recognise(names: &[&str], network: &HashSet<&str>) -> Result<Option<Self>> {
        let mut found: HashMap<Self, usize> = HashMap::new();
        for name in names {
            let behind_dots = name.match_indices('.').map(|(dot, _)| dot + 1);
            for start in std::iter::once(0).chain(behind_dots) {
                for words in WORDS {
                    if words.own(&name[start..]).is_some_and(|own| network.contains(own.as_str())) {
                        let naming = Self { prefix: name[..start].to_owned(), words };
                        *found.entry(naming).or_default() += 1;
                    }
                }
            }
        }
        let order = |naming: &Self, count: usize| (Reverse(count), naming.choice());
        let mut ranked = found.into_iter().collect::<Vec<_>>();
        ranked.sort_by_key(|(naming, count)| (order(naming, *count), naming.prefix.clone(), naming.words.rank()));
        let mut ranked = ranked.into_iter();
        let Some((best, count)) = ranked.next() else { return Ok(None) };
        match ranked.find(|(other, _)| other.prefix != best.prefix) {
            Some((other, others)) if order(&other, others) == order(&best, count) => refuse(format!(
                "both {:?} and {:?} hold {count} tensors of the network; keep one of them in the file",
                best.prefix, other.prefix
            )),
            _ => Ok(Some(best)),
        }
    }

    /// The network's word for a name of the file; `None` where the file's is outside the prefix or no word of this naming.
    pub(super) fn own(&self, name: &str) -> Option<String> {
        self.words.own(name.strip_prefix(&self.prefix)?)
    }

    /// Whether a name that the network lacks belongs to something else in the file: another network, or what follows a
    /// backbone.
    pub(super) fn is_of_another_part(&self, name: &str) -> bool {
        match name.strip_prefix(&self.prefix) {
            Some(rest) => HEADS.contains(&rest.split('.').next().unwrap_or_default()),
            None => true,
        }
    }

    /// 0 before 1 before 2, where two hold equally many names.
    fn choice(&self) -> u8 {
        match self.prefix.as_str() {
            prefix if SECOND_CHOICE.iter().any(|mark| prefix.contains(mark)) => 2,
            prefix if prefix.contains("backbone.") => 0,
            _ => 1,
        }
    }
}

impl Words {
    fn own(self, rest: &str) -> Option<String> {
        match self {
            Self::Own => Some(rest.to_owned()),
            Self::WrappedFeatures => Some(match rest.strip_prefix("features.module.") {
                Some(rest) => format!("features.{rest}"),
                None => rest.to_owned(),
            }),
            Self::Positions { first_stage } => {
                let (position, rest) = rest.split_once('.')?;
                match position.parse::<usize>().ok()? {
                    0 => Some(format!("conv1.{rest}")),
                    1 => Some(format!("bn1.{rest}")),
                    position => match position.checked_sub(first_stage)? {
                        stage @ 0..4 => Some(format!("layer{}.{rest}", stage + 1)),
                        _ => None,
                    },
                }
            }
        }
    }

    fn rank(self) -> usize {
        WORDS.iter().position(|words| *words == self).unwrap_or(WORDS.len())
    }
}

impl fmt::Display for Naming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words {
            Words::WrappedFeatures => formatter.write_str("DeepCluster's")?,
            Words::Positions { .. } => formatter.write_str("positions in a sequence, as lightly's")?,
            Words::Own => {
                let program = PROGRAMS.iter().find(|(mark, _)| self.prefix.contains(mark));
                formatter.write_str(program.map_or("the network's own", |(_, program)| program))?;
            }
        }
        if !self.prefix.is_empty() {
            write!(formatter, " (behind {:?})", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: [&str; 3] = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight"];

    fn recognised(names: &[String]) -> Result<Option<Naming>> {
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        Naming::recognise(&names, &HashSet::from(NETWORK))
    }

    fn behind(prefixes: &[&str]) -> Vec<String> {
        prefixes.iter().flat_map(|prefix| NETWORK.iter().map(move |name| format!("{prefix}{name}"))).collect()
    }

    #[test]
    fn of_two_networks_alike_the_one_for_downstream_tasks_is_taken() -> Result<()> {
        for (prefixes, taken) in [
            (["module.encoder_k.", "module.encoder_q."], "module.encoder_q."),
            (["student.module.backbone.", "teacher.backbone."], "teacher.backbone."),
            (["state_dict.backbone.", "state_dict.momentum_backbone."], "state_dict.backbone."),
            (["online_net.0.", "target_net.0."], "online_net.0."),
            (["backbone.", "encoder_q.0."], "backbone."),
        ] {
            assert_eq!(recognised(&behind(&prefixes))?.expect("a naming").prefix, taken);
        }
        let error = recognised(&behind(&["a.", "b."])).expect_err("two alike").to_string();
        assert!(error.contains("\"a.\"") && error.contains("\"b.\""), "{error}");
        Ok(())
    }

    #[test]
    fn most_names_win_and_none_is_none() -> Result<()> {
        let mut names = behind(&["backbone."]);
        names.extend(["conv1.weight".to_owned(), "other.conv1.weight".to_owned()]);
        let naming = recognised(&names)?.expect("a naming");
        assert_eq!(naming.to_string(), "OpenSelfSup's, mmselfsup's or solo-learn's (behind \"backbone.\")");
        assert_eq!(naming.own("backbone.bn1.weight").as_deref(), Some("bn1.weight"));
        assert_eq!(naming.own("other.conv1.weight"), None);
        assert!(naming.is_of_another_part("other.conv1.weight") && naming.is_of_another_part("backbone.fc.0.weight"));
        assert!(!naming.is_of_another_part("backbone.layer9.weight"));
        assert_eq!(recognised(&["weight".to_owned()])?, None);
        Ok(())
    }

    #[test]
    fn positions_are_counted_from_the_first_stage_that_fits() -> Result<()> {
        for first_stage in [2, 3, 4] {
            let names = ["0.weight".to_owned(), "1.weight".to_owned(), format!("{first_stage}.0.conv1.weight")]
                .map(|name| format!("backbone.{name}"));
            let naming = recognised(&names)?.expect("a naming");
            assert_eq!(naming.own(&names[2]).as_deref(), Some("layer1.0.conv1.weight"));
            assert!(naming.to_string().contains("lightly"), "{naming}");
        }
        Ok(())
    }
}
