//! From flags to a recipe: a built-in one, a file, or the defaults, with settings on top.

use std::path::Path;

use odc_trainer::{Method, Recipe, read_recipe};

use crate::arguments::RecipeArguments;
use crate::failure::WrongUse;

/// The recipes in the program, those of data/recipes.
const BUILT_IN: [(&str, &str); 9] = [
    ("shapes", include_str!("../../../data/recipes/shapes.toml")),
    ("shapes-palettes", include_str!("../../../data/recipes/shapes-palettes.toml")),
    ("shapes-palettes-plain", include_str!("../../../data/recipes/shapes-palettes-plain.toml")),
    ("cifar10", include_str!("../../../data/recipes/cifar10.toml")),
    ("cifar10-deepcluster", include_str!("../../../data/recipes/cifar10-deepcluster.toml")),
    ("cifar10-rotation", include_str!("../../../data/recipes/cifar10-rotation.toml")),
    ("cifar10-finetune", include_str!("../../../data/recipes/cifar10-finetune.toml")),
    ("imagenet", include_str!("../../../data/recipes/imagenet.toml")),
    ("tiny", include_str!("../../../data/recipes/tiny.toml")),
];

impl RecipeArguments {
    /// Whether the flags say what a run would train on.
    pub(crate) fn define_a_run(&self) -> bool {
        self.data.is_some() || self.recipe.is_some()
    }

    /// The recipe that was asked for; what it leaves open is chosen from the data later.
    ///
    /// # Errors
    /// Names the recipe or setting and what is wrong with it.
    pub(crate) fn recipe(&self) -> anyhow::Result<Recipe> {
        let settings = self.all_settings();
        match (&self.recipe, self.data.as_deref()) {
            (Some(name), _) => named(name, &settings),
            (None, None | Some("shapes")) => named("shapes", &settings),
            (None, Some(_)) => Ok(Recipe::from_toml("defaults", "", &settings)?),
        }
    }

    /// The recipe by another method: the built-in one made for it, such as cifar10-deepcluster beside cifar10, or else the
    /// same with `method` set.
    ///
    /// # Errors
    /// As [`RecipeArguments::recipe`].
    pub(crate) fn recipe_by(&self, method: Method) -> anyhow::Result<Recipe> {
        let name = self.recipe.as_deref().unwrap_or_default();
        let own = format!("{name}-{method}");
        let recipe =
            if BUILT_IN.iter().any(|(built_in, _)| *built_in == own) { Some(own) } else { self.recipe.clone() };
        Self { recipe, method: Some(method), ..self.clone() }.recipe()
    }

    /// `stored` with the settings that were typed.
    ///
    /// # Errors
    /// Names the setting and what is wrong with it.
    pub(crate) fn applied_to(&self, stored: &Recipe) -> anyhow::Result<Recipe> {
        Ok(Recipe::from_toml("of the run", &stored.to_toml(), &self.all_settings())?)
    }

    /// The flags as settings, then those of `--set`, which so have the last word.
    fn all_settings(&self) -> Vec<String> {
        let flags = [
            ("method", self.method.map(|method| quoted(method.name()))),
            ("data.path", self.data.as_deref().map(quoted)),
            ("model.arch", self.arch.map(|arch| quoted(arch.name()))),
            ("model.init_from", self.init_from.as_ref().map(|path| quoted(&path.to_string_lossy()))),
            ("memory.clusters", self.clusters.map(|number| number.to_string())),
            ("training.batch_size", self.batch_size.map(|number| number.to_string())),
            ("training.epochs", self.epochs.map(|number| number.to_string())),
            // `{:?}` keeps the point of 1.0, so that TOML reads a float; `NaN` is `nan` there.
            ("optimizer.lr", self.lr.map(|rate| format!("{rate:?}").to_lowercase())),
            ("seed", self.seed.map(|number| number.to_string())),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        flags.chain(self.settings.iter().cloned()).collect()
    }
}

fn named(name: &str, settings: &[String]) -> anyhow::Result<Recipe> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        return Ok(Recipe::from_toml(name, text, settings)?);
    }
    if !Path::new(name).exists() {
        let built_in = BUILT_IN.map(|(name, _)| name).join(", ");
        let message = format!("--recipe {name}: there is no such file, and the built-in recipes are {built_in}");
        return Err(WrongUse(message).into());
    }
    Ok(read_recipe(Path::new(name), settings)?)
}

/// Text as a TOML string, so that a path such as `123` stays text: JSON's escapes are TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        recipe: RecipeArguments,
    }

    fn typed(words: &[&str]) -> RecipeArguments {
        Typed::try_parse_from([&["odc"], words].concat()).expect("these words can be typed").recipe
    }

    #[test]
    fn every_built_in_recipe_can_be_read() {
        for (name, _) in BUILT_IN {
            assert!(named(name, &[]).is_ok(), "{name}: {:?}", named(name, &[]).err());
        }
    }

    #[test]
    fn flags_and_settings_reach_the_recipe_and_settings_win() {
        let words = ["--data", "12 \"x\\y\"", "--lr", "1", "--clusters", "7", "--set", "memory.clusters=9"];
        let recipe = typed(&words).recipe().expect("a recipe");
        assert_eq!(recipe.data.path, "12 \"x\\y\"");
        assert_eq!(recipe.optimizer.lr, 1.0);
        assert_eq!(recipe.memory.clusters, Some(9));
    }

    #[test]
    fn a_method_has_its_own_recipe_where_there_is_one() {
        let of = |words: &[&str], method| typed(words).recipe_by(method).expect("a recipe");
        let rotation = of(&["--recipe", "cifar10", "--epochs", "7"], Method::Rotation);
        assert_eq!((rotation.method, rotation.optimizer.lr, rotation.training.epochs), (Method::Rotation, 0.4, 7));
        let odc = of(&["--recipe", "cifar10"], Method::Odc);
        assert_eq!(odc, named("cifar10", &[]).expect("a recipe"));
        let tiny = of(&["--recipe", "tiny"], Method::DeepCluster);
        assert_eq!(tiny, Recipe { method: Method::DeepCluster, ..named("tiny", &[]).expect("a recipe") });
    }

    #[test]
    fn without_data_and_for_shapes_the_small_network_is_taken() {
        let expected = named("shapes", &[]).expect("a recipe");
        assert_eq!(typed(&[]).recipe().expect("a recipe"), expected);
        assert_eq!(typed(&["--data", "shapes"]).recipe().expect("a recipe"), expected);
        assert_ne!(typed(&["--data", "photos"]).recipe().expect("a recipe").model, expected.model);
    }
}
