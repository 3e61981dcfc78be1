/** Backends that a user can ask for. The first is the default: the best one available. */
export const backendChoices = ['auto', 'webgpu', 'onnxruntime', 'tfjs', 'reference'] as const;
export type BackendChoice = (typeof backendChoices)[number];

/** Engines of TensorFlow.js that run in Node; `node` is TensorFlow itself, through tfjs-node. The first is the default. */
export const tfjsEngines = ['wasm', 'cpu', 'node', 'webgpu'] as const;
export type TfjsEngine = (typeof tfjsEngines)[number];

/** Which backend to run. Plain data: it travels to child processes. */
export interface BackendSettings {
  readonly backend: BackendChoice;
  /** TensorFlow.js engine, if that is the backend. Default: wasm. */
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
  /** Why a backend other than the preferred one runs, if one does. */
  readonly fallback?: string;
  /** The backend's own warning, such as that the GPU is a software adapter. */
  readonly warning?: string;
}
