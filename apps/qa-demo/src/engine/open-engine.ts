import { formatBytes, TopKError } from '@topk-attention/core';
import { formatUnifiedQA, type LayerChoices, loadT5, type T5 } from '@topk-attention/models';
import type { Kept } from '../args/values.js';
import { seededRandom } from '../evaluation/random.js';
import { peakBytes } from '../processes/peak-memory.js';
import { chooseBackend } from './choose-backend.js';
import { modelFolder, trainedTokens } from './model-folder.js';
import { type Steering, steeredBackend } from './steered-backend.js';
import type {
  Answer,
  AnswerEvents,
  AnswerRequest,
  Engine,
  EngineInfo,
  EngineSettings,
  PlanReport,
} from './types.js';

/** The paper keeps 256 of 3,072 hidden units. */
const FEED_FORWARD_SHARE = 12;

/** A twelfth of the hidden units. */
export function defaultFeedForwardK(units: number): number {
  return Math.max(1, Math.round(units / FEED_FORWARD_SHARE));
}

/**
 * Opens a model on the backend that was asked for.
 *
 * @throws TopKError as `chooseBackend` and `loadT5`; ABORTED.
 */
export async function openEngine(
  settings: EngineSettings,
  events: Pick<AnswerEvents, 'onProgress'>,
  signal: AbortSignal,
): Promise<Engine> {
  const started = performance.now();
  const folder = modelFolder(settings.model);
  const chosen = await chooseBackend(settings);
  const { backend, steering } = steeredBackend(chosen.backend);
  let model: T5;
  try {
    model = await loadT5({
      backend,
      source: folder,
      signal,
      onProgress: ({ done, total }) => events.onProgress?.('loading', done, total),
    });
  } catch (error) {
    await chosen.backend.dispose();
    throw error;
  }
  const trained = await trainedTokens(folder);
  const info: EngineInfo = {
    backend: chosen.name,
    ...(chosen.engine !== undefined && { engine: chosen.engine }),
    description: chosen.description,
    ...(chosen.fallback !== undefined && { fallback: chosen.fallback }),
    ...(chosen.warning !== undefined && { warning: chosen.warning }),
    model: folder,
    feedForwardUnits: model.config.dFf,
    ...(trained !== undefined && { trainedTokens: trained }),
    loadMilliseconds: performance.now() - started,
  };
  return {
    info,
    answer: (request, answerEvents, abort) => answer(model, steering, request, answerEvents, abort),
    async dispose() {
      model.dispose();
      await chosen.backend.dispose();
    },
  };
}

async function answer(
  model: T5,
  steering: Steering,
  request: AnswerRequest,
  events: AnswerEvents,
  signal: AbortSignal,
): Promise<Answer> {
  const { attentionK, maxNewTokens, randomSeed } = request;
  const feedForwardK = request.feedForwardK ?? defaultFeedForwardK(model.config.dFf);
  const choices: LayerChoices = { attention: choiceOf(attentionK), feedForward: choiceOf(feedForwardK) };
  const source = formatUnifiedQA({ question: request.question, context: request.context });
  const ids = tokensOf(model, source);
  events.onStart?.(ids.length);

  steering.random = randomSeed === undefined ? undefined : seededRandom(randomSeed);
  const plans = plansWithin(model, steering, choices, ids.length, request.budgetBytes);
  const started = performance.now();
  let isFirst = true;
  const generation = await model.generate(ids, {
    ...choices,
    maxNewTokens,
    signal,
    onToken: ({ text }) => {
      // A tokenizer's first piece begins with the space that separates words.
      const piece = isFirst ? text.trimStart() : text;
      if (piece === '') return;
      isFirst = false;
      events.onText?.(piece);
    },
    onProgress: ({ stage, done, total }) =>
      events.onProgress?.(stage === 'encode' ? 'reading' : stage, done, total),
  });
  return {
    text: generation.text.trim(),
    attentionK,
    feedForwardK,
    promptTokens: ids.length,
    newTokens: generation.ids.length,
    milliseconds: performance.now() - started,
    peakBytes: peakBytes(),
    plans,
  };
}

function choiceOf(kept: Kept): 'exact' | { readonly k: number } {
  return kept === 'exact' ? 'exact' : { k: kept };
}

function tokensOf(model: T5, source: string): number[] {
  if (model.tokenizer !== undefined) return model.tokenizer.encode(source);
  throw new TopKError('FILE_NOT_FOUND', 'the model has no tokenizer', {
    expected: 'tokenizer.json beside config.json',
  });
}

/**
 * The plans of the encoder's first layer, whose calls are the largest: every layer of the encoder has the same. With a
 * budget the planner aims below it, and nothing runs when even the smallest chunk does not fit.
 */
function plansWithin(
  model: T5,
  steering: Steering,
  choices: LayerChoices,
  sourceLength: number,
  budgetBytes: number | undefined,
): readonly PlanReport[] {
  const { heads, dKv, dModel } = model.config;
  const left = (width: number): number => (budgetBytes ?? 0) - sourceLength * width * 4;
  // The planner lets a feed-forward chunk have four times the scratch of an attention chunk.
  const scratch = Math.max(0, Math.min(left(heads * dKv), left(dModel) / 4));
  steering.scratchBytes = budgetBytes === undefined ? undefined : scratch;
  const layers = model.explain({ ...choices, sourceLength });
  for (const { name, explanation } of layers) {
    const { total } = explanation.plan.bytes;
    if (budgetBytes === undefined || total <= budgetBytes) continue;
    throw new TopKError('DOES_NOT_FIT', `${name} over ${sourceLength} tokens does not fit`, {
      expected: `at most ${formatBytes(budgetBytes)} beyond the inputs`,
      got: formatBytes(total),
      fix: 'Use a larger --budget-bytes, a smaller k or a shorter text',
    });
  }
  return layers
    .filter(({ name }) => name.startsWith('encoder.0 '))
    .map(({ name, explanation: { path, plan, toString } }) => ({
      layer: name,
      path,
      bytes: plan.bytes,
      chunk: 'queryChunk' in plan ? plan.queryChunk : plan.tokenChunk,
      text: toString(),
    }));
}
