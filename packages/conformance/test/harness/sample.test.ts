import { expect, test } from 'vitest';
import { type ConformanceCase, conformanceCases, type Group, sampleCases } from '../../src/index.js';

function caseOf(group: Group, name: string): ConformanceCase {
  return { name, group, run: () => {} };
}

test('every n-th case of each group, in order, its first among them, and what is always taken', () => {
  const cases = [
    ...['a', 'b', 'c', 'd', 'e'].map((name) => caseOf('primitives', name)),
    caseOf('attention', 'f'),
    ...['g', 'h'].map((name) => caseOf('primitives', name)),
  ];
  const namesOf = (sample: readonly ConformanceCase[]): string => sample.map(({ name }) => name).join('');
  expect(namesOf(sampleCases(cases, 3))).toBe('adfh');
  expect(namesOf(sampleCases(cases, 3, ({ name }) => name === 'b'))).toBe('abef');
  expect(sampleCases(cases, 1)).toEqual(cases);
});

test('a sample of the suite has every group', async () => {
  const cases = await conformanceCases();
  const groupsOf = (some: readonly ConformanceCase[]): Set<Group> => new Set(some.map(({ group }) => group));
  expect(groupsOf(sampleCases(cases, 8))).toEqual(groupsOf(cases));
});
