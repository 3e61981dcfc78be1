import { Command, Option } from '@commander-js/extra-typings';
import {
  type BackendChoice,
  type BackendSettings,
  backendChoices,
  type TfjsEngine,
  tfjsEngines,
} from '../../backend-settings.js';
import { wholeNumber } from './option-values.js';

/** The options of every command that runs a backend. */
export type BackendOptions = {
  json?: true;
  backend: BackendChoice;
  engine?: TfjsEngine;
  threads?: number;
};

/** A command with `--json`, `--backend`, `--engine` and `--threads`; the caller adds further options. */
export function backendCommand(name: string): Command<[], BackendOptions> {
  return new Command(name)
    .option('--json', 'print one JSON object on standard output, errors included')
    .optionsGroup('Backend:')
    .addOption(
      new Option('--backend <NAME>', 'auto is webgpu on a GPU, else onnxruntime')
        .choices(backendChoices)
        .default('auto' as const),
    )
    .addOption(
      new Option(
        '--engine <NAME>',
        'with --backend tfjs; node is TensorFlow, through tfjs-node (default: wasm)',
      ).choices(tfjsEngines),
    )
    .option(
      '--threads <N>',
      'threads of ONNX Runtime and of tfjs on node (default: one per core)',
      wholeNumber,
    )
    .optionsGroup('Options:')
    .hook('preAction', (command) => {
      const { backend, engine } = command.opts();
      if (engine !== undefined && backend !== 'tfjs')
        command.error(`--engine needs --backend tfjs, got --backend ${backend}`);
    });
}

/** The backend that the options ask for. */
export function backendSettings({ backend, engine, threads }: BackendOptions): BackendSettings {
  return { backend, ...(engine !== undefined && { engine }), ...(threads !== undefined && { threads }) };
}
