"""The names of ControlNet's models, as its extension keeps them."""

controlnet_filename_dict = {"None": None, "control_v11p_sd15_canny [d14c016b]": "control_v11p_sd15_canny.pth"}
controlnet_names = list(controlnet_filename_dict)


def get_all_controlnet_names() -> list[str]:
    return controlnet_names
