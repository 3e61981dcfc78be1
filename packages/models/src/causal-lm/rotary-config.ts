import { type ConfigReader, readConfig } from '../checkpoint/config-reader.js';
import { unsupported } from './config.js';
import type { RotaryConfig, RotaryScaling } from './rotary-frequencies.js';

/**
 * Rotary positions of a config.json: `rope_parameters`, or `rope_theta` and `rope_scaling` in files of before
 * transformers 5.
 *
 * @throws TopKError INVALID_CONFIG, UNSUPPORTED for a scaling other than linear and llama3.
 */
export function readRotary(read: ConfigReader, file: string, maxPositions: number): RotaryConfig {
  const key = (read.value('rope_parameters') ?? undefined) === undefined ? 'rope_scaling' : 'rope_parameters';
  const value = read.value(key) ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) throw read.invalid(key, 'an object or null', value);
  const inner = readConfig(JSON.stringify(value), `${file}: ${key}`);
  const outer = read.value('rope_theta') === undefined ? 10_000 : positive(read, 'rope_theta');
  for (const from of [read, inner]) {
    const share = from.value('partial_rotary_factor') ?? 1;
    if (share !== 1) throw unsupported(file, 'partial_rotary_factor', 'heads that are rotated whole', share);
  }
  const base = inner.value('rope_theta') === undefined ? outer : positive(inner, 'rope_theta');
  const scaling = readScaling(inner, file, key, maxPositions);
  return { base, ...(scaling && { scaling }) };
}

function readScaling(
  read: ConfigReader,
  file: string,
  key: string,
  maxPositions: number,
): RotaryScaling | undefined {
  const kind = read.value('rope_type') ?? read.value('type') ?? 'default';
  if (kind === 'default') return undefined;
  if (kind === 'linear') return { kind, factor: positive(read, 'factor') };
  if (kind === 'llama3') {
    const [lowFactor, highFactor] = [positive(read, 'low_freq_factor'), positive(read, 'high_freq_factor')];
    if (highFactor <= lowFactor) {
      throw read.invalid('high_freq_factor', `a number above low_freq_factor ${lowFactor}`, highFactor);
    }
    return {
      ...{ kind, factor: positive(read, 'factor'), lowFactor, highFactor },
      originalPositions: read.whole('original_max_position_embeddings', 1, maxPositions),
    };
  }
  throw unsupported(file, `${key} of type ${JSON.stringify(kind)}`, '"default", "linear" or "llama3"', kind);
}

function positive(read: ConfigReader, key: string): number {
  const value = read.value(key);
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  throw read.invalid(key, 'a number above 0', value);
}
