/** Backends that can be asked for. The first is the default: the best that is there. */
export const backendChoices = ['auto', 'webgpu', 'onnxruntime', 'tfjs', 'reference'] as const;
export type BackendChoice = (typeof backendChoices)[number];

/** Engines of TensorFlow.js that run in Node; `node` is TensorFlow itself, through tfjs-node. The first is the default. */
export const tfjsEngines = ['wasm', 'cpu', 'node', 'webgpu'] as const;
export type TfjsEngine = (typeof tfjsEngines)[number];

/** Which backend to run. Plain data: it travels to child processes. */
export interface BackendSettings {
  readonly backend: BackendChoice;
  /** Engine of TensorFlow.js, where that is the backend. Default: wasm. */
  readonly engine?: TfjsEngine;
  /** Threads of ONNX Runtime and of TensorFlow. Default: one per core. */
  readonly threads?: number;
}

/** The backend that runs. Plain data, as above. */
export interface BackendInfo {
  readonly backend: Exclude<BackendChoice, 'auto'>;
  /** Set for TensorFlow.js: which of its engines. */
  readonly engine?: TfjsEngine;
  /** Engine, version, device and threads, for people. */
  readonly description: string;
  /** Set when another backend than the preferred one runs: why. */
  readonly fallback?: string;
  /** What the backend warns of, such as a GPU in software. */
  readonly warning?: string;
}
