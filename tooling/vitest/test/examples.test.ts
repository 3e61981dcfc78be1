import { expect, test } from 'vitest';
import { examplesOf, testExamples } from '../src/index.ts';

const markdown = [
  '# Title',
  '```sh',
  'npm install',
  '```',
  '## Use',
  '```ts',
  'console.log(1 + 1); // prints: 2',
  '```',
  '```ts no-run',
  'not code',
  '```',
].join('\n');

test('finds the blocks that run, with heading, line and expected output', () => {
  expect(examplesOf(markdown)).toEqual([
    { heading: 'Use', line: 7, code: 'console.log(1 + 1); // prints: 2', prints: ['2'] },
  ]);
});

testExamples(new URL('./fixtures/examples.md', import.meta.url));
