import { type FileSource, readOptionalText, readText } from '@topk-attention/nn';
import { CONFIG, GENERATION_CONFIG } from '../checkpoint/files.js';
import { type GenerationDefaults, noDefaults, parseGenerationConfig } from './generation-config.js';

/**
 * The configuration of a model that generates: config.json, and the ids and settings of generation_config.json, if there
 * is one.
 *
 * @param parse config.json
 * @param merge the configuration with the ids of generation_config.json
 * @throws TopKError FILE_NOT_FOUND, and as `parse`, `merge` and `parseGenerationConfig`
 */
export async function readConfigs<Config>(
  source: FileSource,
  parse: (text: string, file: string) => Config,
  merge: (config: Config, text: string, file: string) => Config,
): Promise<{ readonly config: Config; readonly defaults: GenerationDefaults }> {
  const text = await readText(source, CONFIG, 'Name the folder of a Hugging Face checkpoint');
  const config = parse(text, `${source.name}: ${CONFIG}`);
  const generation = await readOptionalText(source, GENERATION_CONFIG);
  if (generation === undefined) return { config, defaults: noDefaults };
  const file = `${source.name}: ${GENERATION_CONFIG}`;
  return {
    config: merge(config, generation, file),
    defaults: parseGenerationConfig(generation, file),
  };
}
