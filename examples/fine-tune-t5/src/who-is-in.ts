import { seededRandom } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import type { Story } from './stories.js';

/** A question over a text. */
export interface Question {
  readonly question: string;
  readonly context: string;
  readonly answer: string;
}

const NOBODY = 'nobody';
const MOVE = /^(\w+) (?:moved|went|went back|journeyed|travelled) to the (\w+)\.$/;

/**
 * A task that bAbI does not have, on the stories of its task 1, which ask "Where is Mary?": "Who is in the kitchen?". The
 * answer is everyone whose last move led there, in alphabetical order, or nobody. Half of the questions are about the
 * place that the file's own question is about, so that somebody is there; the others about any place.
 *
 * @throws TopKError INVALID_OPTION for stories of another task.
 */
export function whoIsIn(stories: readonly Story[], seed: number): readonly Question[] {
  const random = seededRandom(seed);
  const places = [...new Set(stories.flatMap(({ facts }) => facts.map((fact) => moveOf(fact).place)))].sort();
  return stories.map(({ facts, answer }, index) => {
    const any = places[Math.floor(random() * places.length)] as string;
    const place = index % 2 === 0 ? answer : any;
    const placeOf = new Map(facts.map((fact) => [moveOf(fact).person, moveOf(fact).place]));
    const there = [...placeOf].filter(([, at]) => at === place).map(([person]) => person.toLowerCase());
    return {
      question: `Who is in the ${place}?`,
      context: facts.join(' '),
      answer: there.sort().join(',') || NOBODY,
    };
  });
}

function moveOf(fact: string): { readonly person: string; readonly place: string } {
  const [, person, place] = MOVE.exec(fact) ?? [];
  if (person !== undefined && place !== undefined) return { person, place };
  throw new TopKError('INVALID_OPTION', 'a story tells of something but moves', {
    expected: 'stories of bAbI task 1, such as "Mary moved to the bathroom."',
    got: fact,
    fix: 'Name the files of qa1_single-supporting-fact',
  });
}
