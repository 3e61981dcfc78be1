import {
  type Backend,
  gatherRows,
  readOptions,
  scope,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { checkStackChoices, type StackChoices } from '../choices.js';
import type { Comparison } from '../choosing-k/comparison.js';
import { Interruption } from '../interruption.js';
import type { LayerExplanation } from '../layer-explanation.js';
import { type ExtractedAnswer, rankAnswers, type WindowLogits } from '../question-answering/answer-spans.js';
import type { ContextWindow } from '../question-answering/windows.js';
import { requirePositive } from '../require-positive.js';
import { runOf } from '../run-of.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import { type ScoredLabel, scoredLabels } from './classes.js';
import { encoderComparison } from './comparison.js';
import { type EncoderConfig, encoderPaths } from './config.js';
import { explainLayers } from './explain.js';
import { hiddenStates, logits } from './forward.js';
import { headLogits, withoutHead, wordLogits } from './heads.js';
import { type EncoderLayers, encoderLayers } from './layers.js';
import { bestWords, type MaskWord, maskIdOf, masksOf } from './masks.js';
import {
  type AnswerOptions,
  answerKinds,
  type ContextQuestion,
  type CreateEncoderOptions,
  callKinds,
  createKinds,
  type EmbedOptions,
  type EncoderCallOptions,
  type EncoderLogitsOptions,
  type ExplainEncoderOptions,
  embedKinds,
  explainKinds,
  type FillMaskOptions,
  fillMaskKinds,
  logitsKinds,
  questionKinds,
} from './options.js';
import { normalizedVector, pooled } from './pooling.js';
import { readQuestion } from './questions.js';
import { readRows } from './read-rows.js';
import { hiddenBatches } from './run-batches.js';
import type { EncoderTask } from './task.js';
import { type EncoderSource, type TokenRow, tokenRows } from './token-sources.js';
import { embeddingNames, encoderParameterSpecs } from './weights.js';

const DEFAULT_BATCH = 16;
const DEFAULT_WORDS = 5;

/** The class of one token. */
export interface TokenLabel extends ScoredLabel {
  readonly id: number;
  /** Where the token stands in the text, as `slice` counts; absent for special tokens and for sources without a text. */
  readonly start?: number;
  readonly end?: number;
}

/**
 * A model from a configuration and parameters, such as trained ones. It takes ownership of the parameters:
 * `dispose()` frees them.
 *
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION
 */
export function createEncoder(
  config: EncoderConfig,
  parameters: ParameterTree,
  options?: CreateEncoderOptions,
): Encoder {
  const { tokenizer, ...choices } = readOptions('createEncoder', options, createKinds);
  checkParameters('encoder', encoderParameterSpecs(config), parameters);
  checkStackChoices('createEncoder', choices, encoderPaths(config));
  return new Encoder(config, parameters, tokenizer, choices);
}

/** A BERT, DistilBERT or RoBERTa whose weights are on a backend. Made by `loadEncoder` or `createEncoder`. */
export class Encoder {
  readonly config: EncoderConfig;
  readonly backend: Backend;
  /** Undefined when loaded with `tokenizer: false`. */
  readonly tokenizer: TextTokenizer | undefined;
  /** By their Hugging Face names, linear layers as [in, out]. They belong to the model. */
  readonly parameters: ParameterTree;
  readonly #choices: StackChoices;
  #isDisposed = false;

  /** @internal Use `loadEncoder` or `createEncoder`. */
  constructor(
    config: EncoderConfig,
    parameters: ParameterTree,
    tokenizer: TextTokenizer | undefined,
    choices: StackChoices,
  ) {
    this.config = config;
    this.backend = (parameters[embeddingNames(config.family).words] as Tensor).backend;
    this.tokenizer = tokenizer;
    this.parameters = parameters;
    this.#choices = choices;
  }

  /** One vector [width] for each source. Works for every task. */
  async embed(sources: readonly EncoderSource[], options?: EmbedOptions): Promise<Float32Array[]> {
    const given = readOptions('embed', options, embedKinds);
    const { pooling = 'mean', normalize = false, ...call } = given;
    const vectors: Float32Array[] = [];
    await this.#run('embed', sources, call, async ({ hidden, rows, lengths }) => {
      const values = await readRows('embed', pooled(hidden, lengths, pooling));
      for (const [at, row] of rows.entries()) {
        const own = Float32Array.from(values[at] as Float64Array);
        vectors[row] = normalize ? normalizedVector(own) : own;
      }
    });
    return vectors;
  }

  /**
   * All classes of each source, the most likely first.
   *
   * @throws TopKError UNSUPPORTED without a head for texts
   */
  async classify(
    sources: readonly EncoderSource[],
    options?: EncoderCallOptions,
  ): Promise<(readonly ScoredLabel[])[]> {
    const given = readOptions('classify', options, callKinds);
    this.#requireTask('classify', 'text-classification');
    const classes: (readonly ScoredLabel[])[] = [];
    await this.#run('classify', sources, given, async ({ head, rows }) => {
      const values = await readRows('classify', head());
      for (const [at, row] of rows.entries()) {
        classes[row] = scoredLabels(this.config, values[at] as Float64Array);
      }
    });
    return classes;
  }

  /**
   * The most likely class of each token of each source, special tokens included.
   *
   * @throws TopKError UNSUPPORTED without a head for tokens
   */
  async classifyTokens(
    sources: readonly EncoderSource[],
    options?: EncoderCallOptions,
  ): Promise<(readonly TokenLabel[])[]> {
    const given = readOptions('classifyTokens', options, callKinds);
    this.#requireTask('classifyTokens', 'token-classification');
    const { labels } = this.config;
    const found: (readonly TokenLabel[])[] = [];
    await this.#run('classifyTokens', sources, given, async ({ head, rows, tokens }) => {
      const values = await readRows('classifyTokens', head());
      const perRow = values.length / rows.length;
      for (const [at, row] of rows.entries()) {
        const { ids } = tokens[row] as TokenRow;
        const places = this.#placesOf(sources[row] as EncoderSource, ids.length);
        found[row] = ids.map((id, token) => {
          const [best] = scoredLabels(
            { labels, problem: 'single-label' },
            values[at * perRow + token] as Float64Array,
          );
          return { id, ...(best as ScoredLabel), ...places(token) };
        });
      }
    });
    return found;
  }

  /**
   * The most likely words for each mask of each source, the best first.
   *
   * @throws TopKError UNSUPPORTED without a masked language model's head, INVALID_OPTION without a tokenizer, and for a
   * source without a mask
   */
  async fillMask(
    sources: readonly EncoderSource[],
    options?: FillMaskOptions,
  ): Promise<(readonly (readonly MaskWord[])[])[]> {
    const { topK = DEFAULT_WORDS, ...call } = readOptions('fillMask', options, fillMaskKinds);
    this.#requireTask('fillMask', 'fill-mask');
    requirePositive('fillMask', 'topK', topK);
    const maskId = maskIdOf('fillMask', this.tokenizer);
    const filled: (readonly (readonly MaskWord[])[])[] = [];
    await this.#run('fillMask', sources, call, async ({ layers, hidden, rows, tokens }) => {
      const places = rows.map((row) => masksOf('fillMask', (tokens[row] as TokenRow).ids, maskId));
      const most = Math.max(...places.map((own) => own.length));
      const at = places.flatMap((own) => Array.from({ length: most }, (_, index) => own[index] ?? -1));
      const values = await readRows(
        'fillMask',
        scope(() => {
          const list = tensor(this.backend, Int32Array.from(at), [rows.length, most], 'i32');
          return wordLogits(layers, gatherRows(hidden, list));
        }),
      );
      for (const [index, row] of rows.entries()) {
        filled[row] = (places[index] as readonly number[]).map((_, mask) =>
          bestWords(this.tokenizer, values[index * most + mask] as Float64Array, topK),
        );
      }
    });
    return filled;
  }

  /**
   * The parts of the context that answer the question, the best first. A long context is read in windows that overlap. Scores
   * are those of the question-answering pipeline of transformers 4. A signal stops the windows, not the tokenizer.
   *
   * @throws TopKError UNSUPPORTED without a head for answers, or where the tokenizer does not tell where tokens stand;
   * INVALID_OPTION; TOO_LONG for a question that leaves no room; EMPTY_SEQUENCE for an empty question or context; ABORTED
   */
  async answer(question: ContextQuestion, options?: AnswerOptions): Promise<readonly ExtractedAnswer[]> {
    const asked = readOptions('answer: question', question, questionKinds);
    const given = readOptions('answer', options, answerKinds);
    this.#requireTask('answer', 'question-answering');
    const asking = readQuestion(this.tokenizer, asked, given, this.config.maxTokens);
    const made: WindowLogits[] = [];
    await this.#runRows('answer', asking.windows, given, async ({ head, rows }) => {
      const values = await readRows('answer', head());
      const perRow = values.length / rows.length;
      for (const [at, row] of rows.entries()) {
        const own = values.slice(at * perRow, (at + 1) * perRow);
        made[row] = {
          window: asking.windows[row] as ContextWindow,
          starts: own.map((pair) => pair[0] as number),
          ends: own.map((pair) => pair[1] as number),
        };
      }
    });
    return rankAnswers(asked.context, asking.context, made, asking.ranking);
  }

  /**
   * Hidden states of the last layer, f32 [B, L, width], for rows of equal length (right-padded, with `sourceLengths`). The
   * caller disposes of it.
   */
  encode(sources: readonly (readonly number[])[], options?: EncoderLogitsOptions): Tensor {
    const { sourceLengths, types, trace, budgetBytes, ...choices } = readOptions(
      'encode',
      options,
      logitsKinds,
    );
    const inputs = { sources, ...(sourceLengths && { sourceLengths }), ...(types && { types }) };
    return hiddenStates(
      'encode',
      runOf('encode', { trace, budgetBytes }),
      this.#layers('encode', choices),
      inputs,
    );
  }

  /**
   * What the head gives for rows of equal length: logits f32 [B, labels] of texts, [B, L, labels] of tokens, [B, L, 2] of the
   * begins and ends of answers, [B, L, vocabSize] of words. The caller disposes of it.
   *
   * @throws TopKError UNSUPPORTED without a head
   */
  logits(sources: readonly (readonly number[])[], options?: EncoderLogitsOptions): Tensor {
    const { sourceLengths, types, trace, budgetBytes, ...choices } = readOptions(
      'logits',
      options,
      logitsKinds,
    );
    const inputs = { sources, ...(sourceLengths && { sourceLengths }), ...(types && { types }) };
    return logits('logits', runOf('logits', { trace, budgetBytes }), this.#layers('logits', choices), inputs);
  }

  /**
   * The path and plan, with bytes, of each attention and each feed-forward layer. Runs nothing. Attention given as a function
   * is left out: it has no plan.
   *
   * @throws TopKError DOES_NOT_FIT where a call exceeds `budgetBytes`
   */
  explain(options: ExplainEncoderOptions): readonly LayerExplanation[] {
    const {
      sourceLength,
      batch = 1,
      budgetBytes,
      ...choices
    } = readOptions('explain', options, explainKinds);
    const layers = this.#layers('explain', choices);
    requirePositive('explain', 'sourceLength', sourceLength);
    requirePositive('explain', 'batch', batch);
    return explainLayers(layers, batch, sourceLength, runOf('explain', { budgetBytes }));
  }

  /**
   * A source as `suggestK` and `kErrors` run it, exact or with any choices; a question and its context are a pair. What is
   * compared: the logits of the classes, of the words for each mask, of the begin and the end of an answer among all tokens; the
   * hidden states of all tokens where there is no head, and in a regression.
   *
   * @throws TopKError as `embed`; INVALID_OPTION for a source without a mask where the model fills masks
   *
   * @example
   * const model = await loadEncoder({ backend, source: 'encoder' });
   * const { choices } = await suggestK(model, [{ text: 'Where is Mary?', pair: 'Mary is in the garden.' }], { tolerance: 0.01 });
   */
  async comparison(source: EncoderSource, signal?: AbortSignal): Promise<Comparison> {
    this.#requireLive('comparison');
    const reading = { ...(signal && { signal }) };
    const [row] = await tokenRows('comparison', this.config, this.tokenizer, [source], reading);
    const own = row as TokenRow;
    const masks =
      this.config.task === 'fill-mask'
        ? masksOf('comparison', own.ids, maskIdOf('comparison', this.tokenizer))
        : [];
    return encoderComparison(this.config, own, masks, (choices) => this.#layers('comparison', choices));
  }

  /** Frees the weights; idempotent. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    disposeParameters(this.parameters);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #run(
    where: string,
    sources: readonly EncoderSource[],
    options: EncoderCallOptions,
    use: (batch: BatchDone) => Promise<void>,
  ): Promise<void> {
    this.#requireLive(where);
    const rows = await tokenRows(where, this.config, this.tokenizer, sources, options);
    await this.#runRows(where, rows, options, use);
  }

  async #runRows(
    where: string,
    tokens: readonly TokenRow[],
    {
      batchSize = DEFAULT_BATCH,
      signal,
      onProgress,
      trace,
      budgetBytes,
      truncate: _,
      ...choices
    }: EncoderCallOptions,
    use: (batch: BatchDone) => Promise<void>,
  ): Promise<void> {
    const run = runOf(where, { trace, budgetBytes });
    const layers = this.#layers(where, choices);
    requirePositive(where, 'batchSize', batchSize);
    const events = { interruption: new Interruption(where, signal, () => this.#isDisposed), onProgress };
    for await (const { rows, hidden } of hiddenBatches(run, layers, tokens, batchSize, events)) {
      const lengths = rows.map((row) => (tokens[row] as TokenRow).ids.length);
      await use({ layers, hidden, rows, lengths, tokens, head: () => headLogits(run, layers, hidden) });
      events.interruption.check();
    }
  }

  /** The layers of one call: its choices override those of the load. */
  #layers(where: string, choices: StackChoices): EncoderLayers {
    this.#requireLive(where);
    checkStackChoices(where, choices, encoderPaths(this.config));
    return encoderLayers(this.config, this.parameters, [choices, this.#choices]);
  }

  #requireLive(where: string): void {
    if (this.#isDisposed) throw new TopKError('DISPOSED', `${where}: the model was used after dispose()`);
  }

  #requireTask(where: string, task: EncoderTask): void {
    this.#requireLive(where);
    if (this.config.task !== task) throw withoutHead(where, this.config, `a model for '${task}'`);
  }

  /** Where the `count` tokens of a source, special ones included, stand in its text. */
  #placesOf(source: EncoderSource, count: number): (token: number) => { start?: number; end?: number } {
    const spans = this.tokenizer?.spans;
    if (spans === undefined || typeof source !== 'string') return () => ({});
    const { starts, ends } = spans.encode(source);
    const { ids, firstAt } = spans.wrap([]);
    // Fewer than the text has, if it was cut.
    const own = count - ids.length;
    return (token) => {
      const at = token - firstAt;
      return at < 0 || at >= own ? {} : { start: starts[at] as number, end: ends[at] as number };
    };
  }
}

/** A batch that has run. */
interface BatchDone {
  readonly layers: EncoderLayers;
  /** f32 [rows, L, width] */
  readonly hidden: Tensor;
  /** Which rows of the call. */
  readonly rows: readonly number[];
  /** Tokens of each of them. */
  readonly lengths: readonly number[];
  /** All rows of the call. */
  readonly tokens: readonly TokenRow[];
  /** The head's logits of the batch. */
  readonly head: () => Tensor;
}
