import { seededRandom } from '@topk-attention/app-kit';
import { type ChosenBackend, chooseBackend } from '@topk-attention/app-kit/backends';
import { peakBytes } from '@topk-attention/app-kit/node';
import { formatBytes, TopKError } from '@topk-attention/core';
import {
  type AttentionChoice,
  type AttentionFunction,
  formatUnifiedQA,
  kErrors,
  type LayerChoices,
  type LayerExplanation,
  loadT5,
  suggestK,
  type T5,
} from '@topk-attention/models';
import { type CrossMechanism, crossAttentionOf } from './cross-mechanism.js';
import { hubError, settingsFiles, trainedTokens } from './model-files.js';
import { PlainAttention, TENSORS_OF_ALL_PAIRS } from './plain-attention.js';
import {
  type Answer,
  type AnswerEvent,
  type AnswerRequest,
  choiceOf,
  defaultFeedForwardK,
  type EngineInfo,
  type EngineSettings,
  type PlanReport,
  type Progress,
  type Suggestion,
  type SuggestRequest,
} from './protocol.js';
import { randomAttention } from './random-attention.js';

/** The rest is for the engine, the model and what else runs on the machine. */
const SHARE_OF_FREE_MEMORY = 0.9;

/** A model on a backend, in this process; both live until it ends. */
export interface Engine {
  readonly info: EngineInfo;
  answer(request: AnswerRequest, onEvent: (event: AnswerEvent) => void): Promise<Answer>;
  suggest(request: SuggestRequest, onEvent: (event: Progress) => void): Promise<Suggestion>;
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
  const files = settingsFiles(settings, onEvent);
  // A session with all scores exceeds the default limit for kept sessions, so every layer would compile it anew.
  const chosen = await chooseBackend(
    settings,
    settings.isPlain ? { sessionBytes: Number.MAX_SAFE_INTEGER } : {},
  );
  const model = await loadT5({
    backend: chosen.backend,
    source: files,
    onProgress: ({ done, total }) => onEvent({ type: 'progress', stage: 'loading', done, total }),
  }).catch((error: unknown) => {
    throw hubError(error);
  });
  const opened = {
    model,
    chosen,
    cross: new Map<string, AttentionFunction>(),
    ...(settings.isPlain && { plain: await PlainAttention.of(model) }),
  };
  const trained = await trainedTokens(files);
  const info: EngineInfo = {
    ...chosen.info,
    model: typeof files === 'string' ? files : settings.model,
    feedForwardUnits: model.config.dFf,
    ...(trained !== undefined && { trainedTokens: trained }),
    loadMilliseconds: performance.now() - started,
    memory: chosen.gpuBytes === undefined ? 'process' : 'gpu',
    loadedBytes: memoryPeak(chosen),
  };
  return {
    info,
    answer: (request, onAnswerEvent) => answer(opened, request, onAnswerEvent),
    suggest: (request, onSuggestEvent) => suggest(model, request, onSuggestEvent),
  };
}

function memoryPeak({ gpuBytes }: ChosenBackend): number {
  return gpuBytes?.() ?? peakBytes();
}

interface Opened {
  readonly model: T5;
  readonly chosen: ChosenBackend;
  /** What runs the encoder's attention, if not the model's own. */
  readonly plain?: PlainAttention;
  /** Mechanisms that have stood in for cross-attention, with their random features. */
  readonly cross: Map<string, AttentionFunction>;
}

async function answer(
  opened: Opened,
  request: AnswerRequest,
  onEvent: (event: AnswerEvent) => void,
): Promise<Answer> {
  const { model, chosen, plain } = opened;
  const { attentionK, maxNewTokens, budgetBytes, strategy = {} } = request;
  const feedForwardK = request.feedForwardK ?? defaultFeedForwardK(model.config.dFf);
  const choices: LayerChoices = {
    attention: attentionOf(request),
    feedForward: choiceOf(feedForwardK),
    ...(plain && { encoder: { attention: plain.attend } }),
    ...(request.cross && { crossAttention: crossOf(request.cross, opened) }),
  };
  const source = formatUnifiedQA({ question: request.question, context: request.context });
  const ids = tokensOf(model, source);
  onEvent({ type: 'started', promptTokens: ids.length, known: knownShare(model, source, ids) });

  const plans = plansWithin(model, choices, ids.length, budgetBytes);
  if (plain !== undefined) requireRoom(model, ids.length, chosen);
  onEvent({ type: 'progress', stage: 'reading', done: 0, total: model.config.encoderLayers });
  const started = performance.now();
  let isFirst = true;
  const show = (text: string): void => {
    // A tokenizer's first piece begins with the space that separates words.
    const piece = isFirst ? text.trimStart() : text;
    if (piece === '') return;
    isFirst = false;
    onEvent({ type: 'text', piece });
  };
  const isStreamed = (strategy.numBeams ?? 1) === 1;
  const generation = await model.generate(ids, {
    ...choices,
    ...(budgetBytes !== undefined && { budgetBytes }),
    maxNewTokens,
    // Whatever the checkpoint says.
    ...{ numBeams: 1, doSample: false },
    ...strategy,
    ...(isStreamed && { onToken: ({ text }) => show(text) }),
    onProgress: ({ stage, done, total }) =>
      onEvent({ type: 'progress', stage: stage === 'encode' ? 'reading' : stage, done, total }),
  });
  if (!isStreamed) show(generation.text);
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

async function suggest(
  model: T5,
  { questions, context, ks, of, tolerance, measure }: SuggestRequest,
  onEvent: (event: Progress) => void,
): Promise<Suggestion> {
  const samples = questions.map((question) => formatUnifiedQA({ question, context }));
  const onProgress = ({ done, total }: { readonly done: number; readonly total: number }): void =>
    onEvent({ type: 'progress', stage: 'comparing', done, total });
  return ks === undefined
    ? { suggested: await suggestK(model, samples, { tolerance, measure, of, onProgress }) }
    : { errors: await kErrors(model, samples, { ks, of, onProgress }) };
}

/** Share of a text's characters, not counting blanks, that come back from its tokens: unknown ones do not. */
function knownShare(model: T5, source: string, ids: readonly number[]): number {
  const count = (text: string): number => text.replace(/\s+/g, '').length;
  return Math.min(1, count(model.tokenizer?.decode(ids) ?? source) / Math.max(1, count(source)));
}

/** Plain attention may need more memory than is free; a run that would be killed is not started. */
function requireRoom({ config }: T5, tokens: number, { backend, gpuBytes }: ChosenBackend): void {
  const allPairs = 4 * config.heads * tokens ** 2;
  const total = TENSORS_OF_ALL_PAIRS * allPairs;
  const needs = `does not fit: needs about ${formatBytes(total)}`;
  const fix = 'Attention in chunks, exact or top-k, holds a few rows of scores at a time';
  const free = gpuBytes === undefined ? process.availableMemory() : Number.POSITIVE_INFINITY;
  if (total > SHARE_OF_FREE_MEMORY * free)
    throw new TopKError('DOES_NOT_FIT', `${needs}, ${formatBytes(free)} are free`, { fix });
  const most = backend.capabilities.limits.maxBufferBytes;
  if (allPairs > most)
    throw new TopKError('DOES_NOT_FIT', `${needs}, and a tensor here has at most ${formatBytes(most)}`, {
      fix,
    });
}

function attentionOf({ attentionK, randomSeed }: AnswerRequest): AttentionChoice {
  if (attentionK === 'exact' || randomSeed === undefined) return choiceOf(attentionK);
  return randomAttention(attentionK, seededRandom(randomSeed));
}

function crossOf(settings: CrossMechanism, { model, chosen, cross }: Opened): AttentionFunction {
  const key = JSON.stringify(settings);
  const known = cross.get(key);
  if (known !== undefined) return known;
  const { dModel, heads, dKv } = model.config;
  const sizes = { width: dModel, heads, keyValueHeads: heads, headDim: dKv };
  const made = crossAttentionOf(settings, chosen.backend, sizes);
  cross.set(key, made);
  return made;
}

function tokensOf(model: T5, source: string): number[] {
  if (model.tokenizer !== undefined) return model.tokenizer.encode(source);
  throw new TopKError('FILE_NOT_FOUND', 'the model has no tokenizer', {
    expected: 'tokenizer.json beside config.json',
  });
}

/**
 * The plans of the encoder's first layer, which all its layers share; its calls are the largest. Nothing runs when
 * even the smallest chunk exceeds the budget.
 */
function plansWithin(
  model: T5,
  choices: LayerChoices,
  sourceLength: number,
  budgetBytes: number | undefined,
): readonly PlanReport[] {
  return explainWithin(model, choices, sourceLength, budgetBytes)
    .filter(({ name }) => name.startsWith('encoder.0 '))
    .map(({ name, explanation: { path, plan, toString } }) => ({
      layer: name,
      path,
      bytes: plan.bytes,
      chunk: 'queryChunk' in plan ? plan.queryChunk : plan.tokenChunk,
      text: toString(),
    }));
}

function explainWithin(
  model: T5,
  choices: LayerChoices,
  sourceLength: number,
  budgetBytes: number | undefined,
): readonly LayerExplanation[] {
  if (budgetBytes === undefined) return model.explain({ ...choices, sourceLength });
  try {
    return model.explain({ ...choices, sourceLength, budgetBytes });
  } catch (error) {
    if (!(error instanceof TopKError) || error.code !== 'DOES_NOT_FIT') throw error;
    // The fix, in terms of the command line.
    throw new TopKError('DOES_NOT_FIT', `a text of ${sourceLength} tokens does not fit`, {
      ...(error.expected !== undefined && { expected: error.expected }),
      ...(error.got !== undefined && { got: error.got }),
      fix: 'Use a larger --budget-bytes, a smaller k or a shorter text',
      cause: error,
    });
  }
}
