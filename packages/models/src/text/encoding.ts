import { Tokenizer } from '@huggingface/tokenizers';
import type { Progress } from '../progress.js';
import { withExactNormalizers } from './exact-normalizers.js';
import { holdBack, PLACEHOLDER, withoutVocabulary } from './hold-back.js';
import { readSpans, type SpanSteps, type SpanTokenizer } from './token-spans.js';
import { Unigram, type UnigramVocabulary } from './unigram.js';
import { wordStart, words } from './unigram-definition.js';

/** Yields the number of characters done so far, returns the ids. */
type EncodingSteps = Generator<Pick<Progress, 'done' | 'total'>, number[]>;

/** Turns texts into ids; the library's tokenizer decodes them. */
export interface Encoding {
  readonly library: Tokenizer;
  encode(text: string): EncodingSteps;
  /** Tokens with their places in the text, where the tokenizer knows them. */
  readonly spans?: SpanTokenizer;
}

/** Characters between two yields, where words are short. */
const BREAK_CHARACTERS = 16_384;

/**
 * WordPiece and byte-level BPE: texts are split here, which tells where tokens stand; pieces of byte-level words come from the
 * library. Where a definition has other parts, the library does everything in one step.
 */
export function wholeTextEncoding(definition: object, config: object): Encoding {
  const library = withExactNormalizers(new Tokenizer(definition, config));
  const spans = readSpans(definition, library);
  if (spans !== undefined) return spansEncoding(library, spans);
  return {
    library,
    // biome-ignore lint/correctness/useYield: there is only one step
    *encode(text) {
      return library.encode(text).ids;
    },
  };
}

function spansEncoding(library: Tokenizer, { steps, wrap }: SpanSteps): Encoding {
  return {
    library,
    *encode(text) {
      const total = text.length;
      let shown = 0;
      const run = steps(text);
      for (;;) {
        const step = run.next();
        if (step.done === true) return [...wrap(step.value.ids).ids];
        if (step.value - shown < BREAK_CHARACTERS) continue;
        shown = step.value;
        yield { done: Math.min(shown, total), total };
      }
    },
    spans: {
      encode(text) {
        const run = steps(text);
        for (;;) {
          const step = run.next();
          if (step.done === true) return step.value;
        }
      },
      wrap,
    },
  };
}

/**
 * The library finds added tokens, normalises, adds special tokens and decodes. The texts between added tokens are held back
 * and split into pieces here: the library's lattice allocates an object per candidate, takes a tenth of a millisecond per
 * token, overflows the stack on long texts, and supports neither word boundaries nor byte fallback.
 */
export function unigramEncoding(definition: object, config: object, vocabulary: UnigramVocabulary): Encoding {
  const library = withExactNormalizers(new Tokenizer(withoutVocabulary(definition), config));
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
          // Normalisation changes the number of characters.
          yield { done: Math.min(done, total), total };
        }
      }
      return ids;
    },
  };
}
