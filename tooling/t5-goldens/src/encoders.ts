import { readFileSync } from 'node:fs';
import { goldensFolder } from './folders.ts';

/** What `tooling/goldens/encoders.py` wrote. */
export interface EncoderManifest {
  readonly models: readonly EncoderGolden[];
  /** RoBERTa's tokenizer with `add_prefix_space`. */
  readonly spaced: readonly TokenizedText[];
  /** Words of texts after a normalisation of BERT's, with their places in the text. */
  readonly normalizers: readonly {
    readonly normalizer: object;
    readonly cases: readonly {
      readonly text: string;
      readonly words: readonly (readonly [word: string, start: number, end: number])[];
    }[];
  }[];
}

export interface EncoderGolden {
  /** The family, and the folder below `encoders`. */
  readonly model: 'bert' | 'distilbert' | 'roberta';
  readonly topK: { readonly attention: { readonly k: number }; readonly feedForward: { readonly k: number } };
  /** Norms of the gradients of the text classifier's loss, by parameter. */
  readonly gradients: { readonly [name: string]: number };
  readonly questions: readonly QuestionGolden[];
  readonly tokenizer: {
    readonly cases: readonly TokenizedText[];
    readonly pairs: readonly {
      readonly a: string;
      readonly b: string;
      readonly ids: readonly number[];
      readonly types: readonly number[];
    }[];
  };
}

interface TokenizedText {
  readonly text: string;
  readonly ids: readonly number[];
  /** Start and end of each token but the special ones, one after the other. */
  readonly offsets: readonly number[];
  readonly words: readonly number[];
  readonly decoded: string;
}

export interface QuestionGolden {
  readonly question: string;
  readonly context: string;
  readonly window: number;
  readonly stride: number;
  readonly topK: number;
  readonly longest: number;
  /** Ids of each window. */
  readonly windows: readonly (readonly number[])[];
  /** The least difference between the scores of two answers. */
  readonly lead: number;
  readonly noAnswerScore?: number;
  readonly answers: readonly {
    readonly text: string;
    readonly score: number;
    readonly start: number;
    readonly end: number;
  }[];
}

export function readEncoderManifest(): EncoderManifest {
  return JSON.parse(readFileSync(`${goldensFolder}/encoders/manifest.json`, 'utf8'));
}
