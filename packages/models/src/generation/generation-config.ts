import { readConfig } from '../checkpoint/config-reader.js';
import { type GenerationSettings, settingKinds, settingsAmong } from './settings.js';

/** What a checkpoint says about generation. */
export interface GenerationDefaults {
  readonly settings: GenerationSettings;
  /** Settings that this package does not have. They are refused when they would take effect. */
  readonly unsupported: readonly UnsupportedSetting[];
}

interface UnsupportedSetting {
  /** As in the file. */
  readonly key: string;
  readonly value: unknown;
  readonly matters: Matters;
}

type Matters = 'always' | 'sampling' | 'beams';

export const noDefaults: GenerationDefaults = { settings: {}, unsupported: [] };

/** Settings that stand in place of those of a checkpoint. */
export function defaultsOf(settings: GenerationSettings): GenerationDefaults {
  return { settings: settingsAmong(settings), unsupported: [] };
}

/** Ids, which the configuration of the model takes up, and what says nothing about the text that comes out. */
const PASSED: ReadonlySet<string> = new Set(
  (
    'pad_token_id bos_token_id eos_token_id decoder_start_token_id ' +
    'transformers_version _from_model_config _commit_hash use_cache max_cache_len prefill_chunk_size ' +
    'return_dict_in_generate output_scores output_logits output_attentions output_hidden_states ' +
    'compile_config disable_compile continuous_batching_config is_assistant num_assistant_tokens ' +
    'num_assistant_tokens_schedule assistant_confidence_threshold assistant_early_exit assistant_lookbehind ' +
    'target_lookbehind assistant_ensemble_weight max_matching_ngram_size'
  ).split(' '),
);

/** Settings that are not here, with the value that switches each off, and when it matters; null is always off. */
const UNSUPPORTED: { readonly [key: string]: { readonly off?: unknown; readonly matters: Matters } } = {
  typical_p: { off: 1, matters: 'sampling' },
  top_h: { matters: 'sampling' },
  epsilon_cutoff: { off: 0, matters: 'sampling' },
  eta_cutoff: { off: 0, matters: 'sampling' },
  diversity_penalty: { off: 0, matters: 'beams' },
  num_beam_groups: { off: 1, matters: 'beams' },
  low_memory: { off: false, matters: 'beams' },
  constraints: { off: [], matters: 'beams' },
  force_words_ids: { off: [], matters: 'beams' },
  encoder_repetition_penalty: { off: 1, matters: 'always' },
  encoder_no_repeat_ngram_size: { off: 0, matters: 'always' },
  bad_words_ids: { off: [], matters: 'always' },
  suppress_tokens: { off: [], matters: 'always' },
  begin_suppress_tokens: { off: [], matters: 'always' },
  renormalize_logits: { off: false, matters: 'always' },
  remove_invalid_values: { off: false, matters: 'always' },
  guidance_scale: { off: 1, matters: 'always' },
  penalty_alpha: { off: 0, matters: 'always' },
  token_healing: { off: false, matters: 'always' },
  use_mtp: { off: false, matters: 'always' },
};

/**
 * The settings of a generation_config.json. Its ids are read by the model.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, INVALID_CONFIG for an impossible value.
 */
export function parseGenerationConfig(text: string, file = 'generation_config.json'): GenerationDefaults {
  const read = readConfig(text, file);
  const settings: Record<string, unknown> = {};
  for (const [name, kind] of Object.entries(settingKinds)) {
    const key = keyOf(name);
    const value = read.value(key) ?? undefined;
    if (value === undefined || PASSED.has(key)) continue;
    if (!kind.is(value)) throw read.invalid(key, kind.what, value);
    settings[name] = value;
  }
  const known = new Set(Object.keys(settingKinds).map(keyOf));
  const unsupported = read.keys.flatMap((key): UnsupportedSetting[] => {
    const value = read.value(key) ?? undefined;
    if (value === undefined || known.has(key) || PASSED.has(key)) return [];
    if (key === 'cache_implementation' && !String(value).includes('quant')) return [];
    const rule = Object.hasOwn(UNSUPPORTED, key) ? UNSUPPORTED[key] : undefined;
    if (rule !== undefined && JSON.stringify(value) === JSON.stringify(rule.off)) return [];
    return [{ key, value, matters: rule?.matters ?? 'always' }];
  });
  return { settings: settings as GenerationSettings, unsupported };
}

/** 'noRepeatNgramSize' -> 'no_repeat_ngram_size' */
function keyOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
