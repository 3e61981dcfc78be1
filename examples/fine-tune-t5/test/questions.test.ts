import { expect, test } from 'vitest';
import { readStories } from '../src/stories.js';
import { whoIsIn } from '../src/who-is-in.js';

const file = `1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Sandra moved to the garden.
6 Where is Daniel? \thallway\t4
1 John travelled to the office.
2 Where is John? \toffice\t1
`;

test('a story has the sentences before its question, and begins again at 1', () => {
  expect(readStories(file, 'qa1.txt')).toEqual([
    { facts: ['Mary moved to the bathroom.', 'John went to the hallway.'], answer: 'bathroom' },
    {
      facts: [
        'Mary moved to the bathroom.',
        'John went to the hallway.',
        'Daniel went back to the hallway.',
        'Sandra moved to the garden.',
      ],
      answer: 'hallway',
    },
    { facts: ['John travelled to the office.'], answer: 'office' },
  ]);
  expect(() => readStories('1 A.\nno number\n', 'qa1.txt')).toThrow(/qa1.txt: line 2/);
  expect(() => readStories('1 A.\n', 'qa1.txt')).toThrow('qa1.txt has no question');
});

test('everyone whose last move led there is there, in alphabetical order', () => {
  const story = (facts: readonly string[], answer: string) => ({ facts, answer });
  const asked = { facts: [] as string[], answer: 'garden' };
  const moves = [
    'Mary moved to the office.',
    'John went back to the office.',
    'Ann journeyed to the garden.',
  ];
  // Even places ask about the story's own answer.
  const questions = whoIsIn(
    [
      story(moves, 'office'),
      asked,
      story([...moves, 'Mary travelled to the garden.'], 'office'),
      asked,
      story([...moves, 'Mary travelled to the garden.'], 'hallway'),
    ],
    1,
  );
  expect([0, 2, 4].map((at) => questions[at])).toEqual([
    { question: 'Who is in the office?', context: moves.join(' '), answer: 'john,mary' },
    { question: 'Who is in the office?', context: expect.any(String), answer: 'john' },
    { question: 'Who is in the hallway?', context: expect.any(String), answer: 'nobody' },
  ]);
});

test('the same seed asks the same', () => {
  const stories = Array.from({ length: 20 }, () => readStories(file, 'qa1.txt')).flat();
  expect(whoIsIn(stories, 7)).toEqual(whoIsIn(stories, 7));
  expect(whoIsIn(stories, 8)).not.toEqual(whoIsIn(stories, 7));
});

test('stories of another task are refused', () => {
  expect(() => whoIsIn([{ facts: ['Mary got the milk there.'], answer: 'milk' }], 1)).toThrow(/bAbI task 1/);
});
