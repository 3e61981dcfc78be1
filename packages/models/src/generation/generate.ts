import type { Trace } from '@topk-attention/nn';
import type { LayerChoices } from '../choices.js';
import type { Progress } from '../progress.js';
import { TextStream } from '../text/text-stream.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { Decoder, DecoderEvents, DecoderState } from './decoder.js';
import { greedy, type StopRules } from './greedy.js';

export interface GenerateOptions extends LayerChoices {
  /** Default 20, as in transformers. */
  readonly maxNewTokens?: number;
  /**
   * Upper bound in bytes of each attention and each feed-forward call beyond its inputs: chunks shrink to fit, and a
   * call that cannot fit rejects with TopKError DOES_NOT_FIT. Default: none.
   */
  readonly budgetBytes?: number;
  /** Stops between tokens, between layers of the encoder and in long texts: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Called with each token as soon as it is known. */
  readonly onToken?: (token: GeneratedToken) => void;
  readonly onProgress?: (progress: Progress) => void;
  /** Hooks, called for the prompt and again for each token. Default: none. */
  readonly trace?: Trace;
}

export interface GeneratedToken {
  /** Which source of a batch; 0 for a single one. */
  readonly row: number;
  readonly id: number;
  /** Logit of the token. */
  readonly logit: number;
  /** What the token adds to the text; '' without a tokenizer, for special tokens, and while a character is incomplete. */
  readonly text: string;
}

export interface Generation {
  /** Token ids after the start token, up to and including the end of sequence. */
  readonly ids: readonly number[];
  /** Logit of each token. */
  readonly logits: readonly number[];
  /** The text without special tokens; '' when the model was loaded without a tokenizer. */
  readonly text: string;
  readonly finishReason: 'eos' | 'length';
  /** Tokens of the source. */
  readonly sourceLength: number;
}

/** Greedy decoding of prompts, with the text of each token: yields tokens, returns the result of each row. */
export async function* generate<State extends DecoderState>(
  decoder: Decoder<State>,
  prompts: readonly (readonly number[])[],
  tokenizer: TextTokenizer | undefined,
  stop: StopRules,
  events: DecoderEvents,
  onToken: GenerateOptions['onToken'],
): AsyncGenerator<GeneratedToken, Generation[]> {
  const { eosIds, padId } = stop;
  const results = prompts.map((prompt) => ({
    ids: [] as number[],
    logits: [] as number[],
    stream: new TextStream(tokenizer, (id) => id === padId || eosIds.includes(id)),
    sourceLength: prompt.length,
  }));
  for await (const step of greedy(decoder, prompts, stop, events)) {
    for (const { row, id, logit, last } of step) {
      const result = results[row] as (typeof results)[number];
      result.ids.push(id);
      result.logits.push(logit);
      const token = { row, id, logit, text: result.stream.push(id, last) };
      onToken?.(token);
      yield token;
    }
  }
  return results.map(({ ids, logits, stream, sourceLength }) => ({
    ids,
    logits,
    text: stream.text,
    finishReason: eosIds.includes(ids.at(-1) as number) ? 'eos' : 'length',
    sourceLength,
  }));
}
