import { expect, test } from 'vitest';
import { type ConformanceCase, conformanceCases, type Group, sampleCases } from '../../src/index.js';

function caseOf(group: Group, name: string): ConformanceCase {
  return { name, group, run: () => {} };
}

test('every n-th case of each kind, in order, its first among them, and what is always taken', () => {
  const cases = [
    ...['a 1', 'a 2', 'a 3', 'a: 4', 'a [5]'].map((name) => caseOf('primitives', name)),
    caseOf('attention', 'a 6'),
    ...['a 7', 'b 8', 'b 9'].map((name) => caseOf('primitives', name)),
    ...['golden a-10', 'golden a-11', 'golden b-12'].map((name) => caseOf('goldens', name)),
  ];
  const numbersOf = (sample: readonly ConformanceCase[]): string[] =>
    sample.map(({ name }) => name.replace(/\D+/g, ''));
  expect(numbersOf(sampleCases(cases, 3))).toEqual(['1', '4', '6', '8', '10', '12']);
  expect(numbersOf(sampleCases(cases, 3, ({ name }) => name === 'a 2'))).toEqual([
    '1',
    '2',
    '5',
    '6',
    '8',
    '10',
    '12',
  ]);
  expect(sampleCases(cases, 1)).toEqual(cases);
});

test('a sample of the suite has every group', async () => {
  const cases = await conformanceCases();
  const groupsOf = (some: readonly ConformanceCase[]): Set<Group> => new Set(some.map(({ group }) => group));
  expect(groupsOf(sampleCases(cases, 8))).toEqual(groupsOf(cases));
});
