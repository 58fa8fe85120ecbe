//! Folds that hold the same share of a class each: the cost is chosen on what a fit has not seen.

use odc_data::Sampling;

/// The fold of each row that is known to show the class or not, cut as scikit-learn's `StratifiedKFold` does without
/// shuffling: consecutive parts of the rows that show it, and of those that do not. `None` for rows that take no part.
///
/// Seed 0 takes rows in their order, any other in a random one.
pub(crate) fn stratified_folds(shows: &[Option<bool>], n_folds: usize, seed: u64) -> Vec<Option<usize>> {
    let order: Vec<u32> = match seed {
        0 => (0..shows.len() as u32).collect(),
        _ => Sampling::Permutation.epoch(seed, 0, shows.len()),
    };
    let rows_that = |wanted: bool| -> Vec<usize> {
        order.iter().map(|&row| row as usize).filter(|&row| shows[row] == Some(wanted)).collect()
    };
    // Which of the two comes first decides, as in scikit-learn, which folds get one more.
    let first = order.iter().find_map(|&row| shows[row as usize]).unwrap_or(true);
    let groups = [rows_that(first), rows_that(!first)];
    let mut folds = vec![None; shows.len()];
    let mut before = 0;
    for rows in groups {
        // Ranks before .. before + rows.len() of all rows sorted by group; fold i has room for those ≡ i.
        let room = |fold: usize| (before..before + rows.len()).filter(|rank| rank % n_folds == fold).count();
        let mut begin = 0;
        for fold in 0..n_folds {
            let end = begin + room(fold);
            rows[begin..end].iter().for_each(|&row| folds[row] = Some(fold));
            begin = end;
        }
        before += rows.len();
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_those_of_scikit_learn() {
        // StratifiedKFold(3) for y = 1 -1 -1 1 -1 1 1 -1 -1 -1 1: the rows of the test parts.
        let signs = [1, -1, -1, 1, -1, 1, 1, -1, -1, -1, 1];
        let shows: Vec<Option<bool>> = signs.iter().map(|sign| Some(*sign > 0)).collect();
        let folds = stratified_folds(&shows, 3, 0);
        let rows = |fold| (0..signs.len()).filter(|&row| folds[row] == Some(fold)).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1), rows(2)], [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9, 10]]);
    }

    #[test]
    fn every_known_row_is_in_one_fold_and_seeds_mix() {
        let shows: Vec<Option<bool>> =
            (0..100).map(|row| if row % 10 == 3 { None } else { Some(row % 4 == 0) }).collect();
        for seed in [0, 1] {
            let folds = stratified_folds(&shows, 3, seed);
            assert!(folds.iter().zip(&shows).all(|(fold, shows)| fold.is_some() == shows.is_some()));
            for fold in 0..3 {
                let positives = (0..100).filter(|&row| folds[row] == Some(fold) && shows[row] == Some(true)).count();
                assert!((7..=9).contains(&positives), "{positives}");
            }
        }
        assert_ne!(stratified_folds(&shows, 3, 0), stratified_folds(&shows, 3, 1));
        assert_ne!(stratified_folds(&shows, 3, 2), stratified_folds(&shows, 3, 1));
    }
}
