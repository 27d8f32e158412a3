if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Accepted" then
      if condition.status == "True" then
        return { status = "Healthy", message = condition.message }
      end
      return { status = "Degraded", message = condition.message }
    end
  end
end
return { status = "Progressing", message = "The operator has not looked at it yet" }
