import {
  type Backend,
  describeValue,
  readOptions,
  scope,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import { disposeParameters } from '@topk-attention/nn';
import { checkChoices, type LayerChoices } from '../layer-choice.js';
import { TextStream } from '../text/text-stream.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { T5Config } from './config.js';
import { decodeAll } from './decoder.js';
import { encode } from './encoder.js';
import { explainLayers } from './explain.js';
import { greedy } from './greedy.js';
import { explainKinds, generateKinds, logitsKinds } from './option-kinds.js';
import { checkIds, checkRectangle, sourceBatch } from './source-batch.js';
import type {
  ExplainOptions,
  GeneratedToken,
  GenerateOptions,
  Generation,
  LayerExplanation,
  LogitsOptions,
  SourceInput,
  T5,
} from './t5.js';
import type { T5Weights } from './weights.js';

const DEFAULT_NEW_TOKENS = 20;

/** The one implementation of `T5`. Owns its weights. */
export class T5Model implements T5 {
  readonly config: T5Config;
  readonly backend: Backend;
  readonly tokenizer: TextTokenizer | undefined;
  readonly #weights: T5Weights;
  readonly #choices: LayerChoices;
  #isDisposed = false;

  constructor(
    backend: Backend,
    config: T5Config,
    weights: T5Weights,
    tokenizer: TextTokenizer | undefined,
    choices: LayerChoices,
  ) {
    this.backend = backend;
    this.config = config;
    this.tokenizer = tokenizer;
    this.#weights = weights;
    this.#choices = choices;
  }

  async generate(source: SourceInput, options?: GenerateOptions): Promise<Generation> {
    return (await drain(this.#run('generate', [source], options)))[0] as Generation;
  }

  async generateBatch(sources: readonly SourceInput[], options?: GenerateOptions): Promise<Generation[]> {
    return drain(this.#run('generateBatch', sources, options));
  }

  async *stream(source: SourceInput, options?: GenerateOptions): AsyncGenerator<GeneratedToken, Generation> {
    return (yield* this.#run('stream', [source], options))[0] as Generation;
  }

  encode(sources: readonly (readonly number[])[], given?: LogitsOptions): Tensor {
    const options = readOptions('encode', given, logitsKinds);
    const levels = this.#levels('encode', options);
    const length = checkRectangle('encode', this.config, sources, options.sourceLengths);
    return scope(() =>
      encode(
        this.config,
        this.#weights,
        sourceBatch(this.backend, this.config, sources, length, options.sourceLengths),
        levels,
      ),
    );
  }

  logits(
    sources: readonly (readonly number[])[],
    targets: readonly (readonly number[])[],
    given?: LogitsOptions,
  ): Tensor {
    const options = readOptions('logits', given, logitsKinds);
    const levels = this.#levels('logits', options);
    const length = checkRectangle('logits', this.config, sources, options.sourceLengths);
    const targetLength = checkRectangle('logits', this.config, targets);
    if (targets.length !== sources.length) {
      throw new TopKError('SHAPE_MISMATCH', 'logits: sources and targets differ in number', {
        expected: String(sources.length),
        got: String(targets.length),
      });
    }
    return scope(() => {
      const source = sourceBatch(this.backend, this.config, sources, length, options.sourceLengths);
      const encoded = encode(this.config, this.#weights, source, levels);
      const ids = tensor(
        this.backend,
        Int32Array.from(targets.flat()),
        [targets.length, targetLength],
        'i32',
      );
      return decodeAll(this.config, this.#weights, encoded, source.keyLengths, ids, levels);
    });
  }

  explain(given: ExplainOptions): readonly LayerExplanation[] {
    const options = readOptions('explain', given, explainKinds);
    const levels = this.#levels('explain', options);
    const { sourceLength, batch = 1 } = options;
    requirePositive('explain', 'sourceLength', sourceLength);
    requirePositive('explain', 'batch', batch);
    return explainLayers(this.backend, this.config, this.#weights, levels, batch, sourceLength);
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    disposeParameters(this.#weights.parameters);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async *#run(
    where: string,
    sources: readonly SourceInput[],
    given: GenerateOptions | undefined,
  ): AsyncGenerator<GeneratedToken, Generation[]> {
    const options = readOptions(where, given, generateKinds);
    const levels = this.#levels(where, options);
    const { maxNewTokens = DEFAULT_NEW_TOKENS } = options;
    requirePositive(where, 'maxNewTokens', maxNewTokens);
    if (!Array.isArray(sources)) {
      throw new TopKError('INVALID_OPTION', `${where}: not a batch`, {
        expected: 'a list of texts or of lists of token ids',
        got: describeValue(sources),
      });
    }
    const rows: (readonly number[])[] = [];
    for (const source of sources) {
      rows.push(typeof source === 'string' ? await this.#encodeText(where, source, options) : source);
    }
    checkIds(where, this.config, rows);
    const { eosIds, padId } = this.config;
    const results = rows.map((row) => ({
      ids: [] as number[],
      logits: [] as number[],
      stream: new TextStream(this.tokenizer, (id) => id === padId || eosIds.includes(id)),
      sourceLength: row.length,
    }));
    const steps = greedy(this.config, this.#weights, rows, levels, {
      maxNewTokens,
      signal: options.signal,
      onProgress: options.onProgress,
      isDisposed: () => this.#isDisposed,
    });
    for await (const step of steps) {
      for (const { row, id, logit, last } of step) {
        const result = results[row] as (typeof results)[number];
        result.ids.push(id);
        result.logits.push(logit);
        const token = { row, id, logit, text: result.stream.push(id, last) };
        options.onToken?.(token);
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

  async #encodeText(
    where: string,
    text: string,
    { signal, onProgress }: GenerateOptions,
  ): Promise<readonly number[]> {
    if (this.tokenizer !== undefined) {
      return this.tokenizer.encodeAsync(text, {
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
      });
    }
    throw new TopKError('INVALID_OPTION', `${where}: the model has no tokenizer`, {
      expected: 'token ids',
      got: 'text',
      fix: 'Load without tokenizer: false',
    });
  }

  #levels(where: string, options: LayerChoices): readonly LayerChoices[] {
    if (this.#isDisposed) throw new TopKError('DISPOSED', `${where}: the model was used after dispose()`);
    checkChoices(where, options, { encoder: this.config.encoderLayers, decoder: this.config.decoderLayers });
    return [options, this.#choices];
  }
}

function requirePositive(where: string, name: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a positive whole number',
    got: describeValue(value),
  });
}

async function drain<Result>(run: AsyncGenerator<unknown, Result>): Promise<Result> {
  for (;;) {
    const step = await run.next();
    if (step.done === true) return step.value;
  }
}
