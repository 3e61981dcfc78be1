import { Tokenizer } from '@huggingface/tokenizers';
import type { Progress } from '../progress.js';
import { holdBack, PLACEHOLDER, withoutVocabulary } from './hold-back.js';
import { Unigram, type UnigramVocabulary } from './unigram.js';
import { wordStart, words } from './unigram-definition.js';

/** Characters of a text done so far, at each break; the ids at the end. */
type EncodingSteps = Generator<Pick<Progress, 'done' | 'total'>, number[]>;

/** How texts become ids, and the library's tokenizer, which turns them back. */
export interface Encoding {
  readonly library: Tokenizer;
  encode(text: string): EncodingSteps;
}

/** Characters between two breaks, where words are short. */
const BREAK_CHARACTERS = 16_384;

/** The library does it all, in one go. */
export function wholeTextEncoding(definition: object, config: object): Encoding {
  const library = new Tokenizer(definition, config);
  return {
    library,
    // biome-ignore lint/correctness/useYield: there is only one step
    *encode(text) {
      return library.encode(text).ids;
    },
  };
}

/**
 * The library finds added tokens, normalises, adds special tokens and decodes. The texts between added tokens are held back from it and cut
 * into pieces here: its own lattice is an object for each candidate, takes a tenth of a millisecond a token, and overflows the stack
 * on long texts; nor does it know words or bytes.
 */
export function unigramEncoding(definition: object, config: object, vocabulary: UnigramVocabulary): Encoding {
  const library = new Tokenizer(withoutVocabulary(definition), config);
  const takeHeld = holdBack(library, vocabulary);
  const unigram = new Unigram(vocabulary);
  const start = wordStart('pre_tokenizer' in definition ? definition.pre_tokenizer : undefined);
  return {
    library,
    *encode(text) {
      const { tokens, ids: given } = library.encode(text);
      const held = takeHeld().values();
      const total = text.length;
      const ids: number[] = [];
      let done = 0;
      let shown = 0;
      for (const [index, token] of tokens.entries()) {
        if (token !== PLACEHOLDER) {
          ids.push(given[index] as number);
          continue;
        }
        for (const word of words(held.next().value ?? '', start)) {
          for (const within of unigram.encode(word, ids))
            yield { done: Math.min(done + within, total), total };
          done += word.length;
          if (done - shown < BREAK_CHARACTERS) continue;
          shown = done;
          // Normalising changes the number of characters.
          yield { done: Math.min(done, total), total };
        }
      }
      return ids;
    },
  };
}
