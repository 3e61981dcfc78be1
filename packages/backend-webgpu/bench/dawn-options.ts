/** Dawn's switches: 'plain' is its default except for finer timestamps; robustness checks stay on in both. */
export const DAWN_OPTIONS = {
  plain: ['disable-dawn-features=timestamp_quantization'],
  tensor: [
    'disable-dawn-features=timestamp_quantization',
    'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model',
  ],
} as const;

export type Mode = keyof typeof DAWN_OPTIONS;
