import { describe, expect, test } from 'vitest';
import { companionKind, splitCompanion } from '../../src/store/companions.ts';
import { workPathsOf } from '../../src/store/swap.ts';

const NAME = 'anne_x1Y2z3';

describe('companions of a data file', () => {
  test('its index, what is kept for people, and what is half done', () => {
    const kinds = (suffixes: string[]) => suffixes.map((suffix) => companionKind(NAME, NAME + suffix));
    expect(companionKind(NAME, `${NAME}.index`)).toBe('index');
    const kept = ['.1700000000', '.torn.17', '.damaged.17', '.index.1700000000', '.index.corrupt.17'];
    expect(kinds(kept)).toEqual(Array(kept.length).fill('kept'));
    const work = Object.values(workPathsOf(NAME)).map((name) => name.slice(NAME.length));
    expect(kinds([...work, '.index-journal', '.index.rebuild', '.index.rebuild-journal'])).toEqual(
      Array(work.length + 3).fill('unfinished'),
    );
  });

  test('never another backup, however its userid is chosen', () => {
    for (const name of [
      NAME,
      `${NAME}.index_Q1W2e3`,
      `${NAME}.17_Q1W2e3`,
      `${NAME}.torn.1_Q1W2e3`,
      'anne_x1Y2z4.index',
    ]) {
      expect(companionKind(NAME, name)).toBeUndefined();
    }
    expect(splitCompanion(`${NAME}.torn.17`)).toEqual({ dataName: NAME, suffix: '.torn.17' });
    expect(splitCompanion(NAME)).toBeUndefined();
  });
});
