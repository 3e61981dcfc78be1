/** What keeps an engine of tf from starting, in the words of an error: tf itself only says that it failed. */
export interface EngineNeeds {
  readonly expected: string;
  readonly got: string;
  readonly fix: string;
}

/** The part of WebGPU used here. */
interface Gpu {
  requestAdapter(): Promise<object | null>;
}

const another = "or use another engine, such as 'wasm' or 'cpu'";

/** By tf's name of the engine. */
const needs: Readonly<Partial<Record<string, () => Promise<EngineNeeds>>>> = {
  webgpu: async () => ({
    expected: 'a GPU with WebGPU',
    got: await whatGpu(),
    fix: `Install a driver for the GPU (Vulkan, Metal or D3D12; a browser may want WebGPU switched on), ${another}`,
  }),
  webgl: async () => ({
    expected: 'a canvas with WebGL',
    got: 'document' in globalThis ? 'no WebGL context' : 'no document: this is not a browser',
    fix: `Switch hardware acceleration on in the browser, ${another}`,
  }),
  wasm: async () => ({
    expected: "the engine's .wasm files where it looks for them",
    got: 'files that could not be loaded',
    fix: "Serve the .wasm files of @tensorflow/tfjs-backend-wasm and set their address with its setWasmPaths, or use 'cpu'",
  }),
};

/** What an engine that did not start lacks; undefined if unknown. */
export async function needsOf(name: string): Promise<EngineNeeds | undefined> {
  return needs[name]?.();
}

async function whatGpu(): Promise<string> {
  const { navigator } = globalThis as { readonly navigator?: { readonly gpu?: Gpu } };
  if (navigator?.gpu === undefined) return 'no navigator.gpu';
  try {
    return (await navigator.gpu.requestAdapter()) === null
      ? 'no adapter: WebGPU finds no GPU'
      : 'an adapter on which tf does not start';
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return `no adapter: ${message.split('\n', 1)[0]}`;
  }
}
