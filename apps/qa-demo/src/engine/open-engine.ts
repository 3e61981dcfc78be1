import { seededRandom } from '@topk-attention/app-kit';
import { type ChosenBackend, chooseBackend } from '@topk-attention/app-kit/backends';
import { peakBytes } from '@topk-attention/app-kit/node';
import { formatBytes, TopKError } from '@topk-attention/core';
import { formatUnifiedQA, type LayerChoices, loadT5, type T5 } from '@topk-attention/models';
import { modelFolder, trainedTokens } from './model-folder.js';
import { PlainAttention, TENSORS_OF_ALL_PAIRS } from './plain-attention.js';
import {
  type Answer,
  type AnswerEvent,
  type AnswerRequest,
  defaultFeedForwardK,
  type EngineInfo,
  type EngineSettings,
  type Kept,
  type PlanReport,
  type Progress,
} from './protocol.js';
import { type Steering, steeredBackend } from './steered-backend.js';

/** The rest is for the engine, the model and what else runs on the machine. */
const SHARE_OF_FREE_MEMORY = 0.9;

/** A model on a backend, in this process, whose end is also theirs. */
export interface Engine {
  readonly info: EngineInfo;
  answer(request: AnswerRequest, onEvent: (event: AnswerEvent) => void): Promise<Answer>;
}

/**
 * Opens a model on the backend that was asked for.
 *
 * @throws TopKError as `chooseBackend` and `loadT5`.
 */
export async function openEngine(
  settings: EngineSettings,
  onEvent: (event: Progress) => void,
): Promise<Engine> {
  const started = performance.now();
  const folder = modelFolder(settings.model);
  // A session with all scores is larger than what all sessions may keep by default: it would be made anew in every layer.
  const chosen = await chooseBackend(
    settings,
    settings.isPlain ? { sessionBytes: Number.MAX_SAFE_INTEGER } : {},
  );
  const { backend, steering } = steeredBackend(chosen.backend);
  const model = await loadT5({
    backend,
    source: folder,
    onProgress: ({ done, total }) => onEvent({ type: 'progress', stage: 'loading', done, total }),
  });
  if (settings.isPlain) {
    const plain = new PlainAttention(chosen.backend);
    steering.plain = plain;
    // A call of one token, which nobody waits for, shows it the table of relative biases.
    model.encode([[model.config.padId]]).dispose();
    await plain.readTable();
  }
  const opened = { model, chosen, steering };
  const trained = await trainedTokens(folder);
  const info: EngineInfo = {
    ...chosen.info,
    model: folder,
    feedForwardUnits: model.config.dFf,
    ...(trained !== undefined && { trainedTokens: trained }),
    loadMilliseconds: performance.now() - started,
    memory: chosen.gpuBytes === undefined ? 'process' : 'gpu',
    loadedBytes: memoryPeak(chosen),
  };
  return { info, answer: (request, onAnswerEvent) => answer(opened, request, onAnswerEvent) };
}

function memoryPeak({ gpuBytes }: ChosenBackend): number {
  return gpuBytes?.() ?? peakBytes();
}

interface Opened {
  readonly model: T5;
  readonly chosen: ChosenBackend;
  readonly steering: Steering;
}

async function answer(
  { model, chosen, steering }: Opened,
  request: AnswerRequest,
  onEvent: (event: AnswerEvent) => void,
): Promise<Answer> {
  const { attentionK, maxNewTokens, randomSeed } = request;
  const feedForwardK = request.feedForwardK ?? defaultFeedForwardK(model.config.dFf);
  const choices: LayerChoices = { attention: choiceOf(attentionK), feedForward: choiceOf(feedForwardK) };
  const source = formatUnifiedQA({ question: request.question, context: request.context });
  const ids = tokensOf(model, source);
  onEvent({ type: 'started', promptTokens: ids.length, known: knownShare(model, source, ids) });

  steering.random = randomSeed === undefined ? undefined : seededRandom(randomSeed);
  const plans = plansWithin(model, steering, choices, ids.length, request.budgetBytes);
  if (steering.plain !== undefined) requireRoom(plans, chosen);
  onEvent({ type: 'progress', stage: 'reading', done: 0, total: model.config.encoderLayers });
  const started = performance.now();
  let isFirst = true;
  const generation = await model.generate(ids, {
    ...choices,
    maxNewTokens,
    onToken: ({ text }) => {
      // A tokenizer's first piece begins with the space that separates words.
      const piece = isFirst ? text.trimStart() : text;
      if (piece === '') return;
      isFirst = false;
      onEvent({ type: 'text', piece });
    },
    onProgress: ({ stage, done, total }) =>
      onEvent({ type: 'progress', stage: stage === 'encode' ? 'reading' : stage, done, total }),
  });
  return {
    text: generation.text.trim(),
    attentionK,
    feedForwardK,
    promptTokens: ids.length,
    newTokens: generation.ids.length,
    milliseconds: performance.now() - started,
    peakBytes: memoryPeak(chosen),
    plans,
  };
}

/** Share of a text's characters, blanks apart, that come back from its tokens: unknown ones do not. */
function knownShare(model: T5, source: string, ids: readonly number[]): number {
  const count = (text: string): number => text.replace(/\s+/g, '').length;
  return Math.min(1, count(model.tokenizer?.decode(ids) ?? source) / Math.max(1, count(source)));
}

/** Plain attention asks for memory that may not be there; what would be killed is not started. */
function requireRoom(plans: readonly PlanReport[], { backend, gpuBytes }: ChosenBackend): void {
  const plan = plans.find(({ layer }) => layer.endsWith(' attention'));
  if (plan === undefined) return;
  const { total, scratch } = plan.bytes;
  const needs = `does not fit: needs about ${formatBytes(total)}`;
  const fix = 'Attention in chunks, exact or top-k, holds a few rows of scores at a time';
  const free = gpuBytes === undefined ? process.availableMemory() : Number.POSITIVE_INFINITY;
  if (total > SHARE_OF_FREE_MEMORY * free)
    throw new TopKError('DOES_NOT_FIT', `${needs}, ${formatBytes(free)} are free`, { fix });
  const most = backend.capabilities.limits.maxBufferBytes;
  if (scratch / TENSORS_OF_ALL_PAIRS > most)
    throw new TopKError('DOES_NOT_FIT', `${needs}, and a tensor here has at most ${formatBytes(most)}`, {
      fix,
    });
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
