import type { EngineInfo } from '../engine/types.js';

/** The one warning about the engine: that another backend runs than the preferred one, or what the backend itself warns of. */
export function engineWarning(info: EngineInfo): string | undefined {
  if (info.warning !== undefined) return `Warning: ${info.warning}`;
  if (info.fallback === undefined) return undefined;
  return `Warning: running on the slow ${info.backend} backend, because ONNX Runtime is not there (${info.fallback})`;
}

/** Said of a text beyond what the model has seen in training; it runs all the same. */
export function lengthWarning(info: EngineInfo, promptTokens: number): string | undefined {
  const { trainedTokens } = info;
  if (trainedTokens === undefined || promptTokens <= trainedTokens) return undefined;
  const [got, most] = [promptTokens, trainedTokens].map((count) => count.toLocaleString('en-US'));
  return `Warning: ${got} tokens, but this model was trained on at most ${most}; answers may be worse.`;
}
